"""What a look at a lane found: how many of its requests wait for their predictions, and who scores them."""

from dataclasses import dataclass

from stream_router.core.lane import Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLook:
    """Of one lane and rollout at `looked_at`, in milliseconds since the epoch.

    unanswered: requests of the rollout behind the scoring group's positions that were routed more than the prediction
    deadline ago, of as many as were read; oldest_routed_at: of the first of them, 0 where there is none. behind:
    offsets between the group's positions and the ends of the lane, which ends of transactions take up, too.
    has_committed: whether the group has a position in any partition. members: of the group, None where the brokers do
    not say.
    """

    lane: Lane
    rollout: int
    looked_at: int
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
