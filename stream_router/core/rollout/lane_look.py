"""A look at a lane: how many of its requests wait for their predictions, and who scores them."""

from collections import deque
from dataclasses import dataclass

from stream_router.core.lane import Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLook:
    """Of one lane and rollout, seconds ago: an older look says nothing any more. Times in milliseconds since the epoch.

    unanswered: requests of the rollout behind the scoring group's positions that were routed more than the prediction
    deadline ago, of as many as were read; oldest_routed_at: of the first of them, 0 where there is none. behind:
    offsets between the group's positions and the ends of the lane, which ends of transactions take up, too.
    has_committed: whether the group has a position in any partition. members: of the group, None where the brokers do
    not say.
    """

    lane: Lane
    rollout: int
    unanswered: int = 0
    oldest_routed_at: int = 0
    behind: int = 0
    has_committed: bool = True
    members: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which lanes are to be looked at: those that have a share under the rollout in force.

    since: when its first split came into force; deadline: its prediction deadline. Milliseconds.
    """

    rollout: int
    since: int
    deadline: int
    lanes: tuple[Lane, ...]


class EndMarks:
    """Where a partition of a lane ended at each look: tells without reading whether anything may wait for too long."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, int]] = deque()

    def may_be_overdue(self, position: int, end: int, now: int, deadline: int) -> bool:
        """Whether a record from `position` on may have come more than `deadline` milliseconds before `now`.

        Each call is a look, with the partition's end of now: what lies behind the end of an earlier look came later.
        """
        self._marks.append((now, end))
        while self._marks[0][0] < now - deadline:
            self._marks.popleft()
        return self._marks[0][1] > position
