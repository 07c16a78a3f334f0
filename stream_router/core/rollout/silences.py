"""When the controller writes that a lane does not answer: as it begins, while it lasts, and as it ends."""

from collections.abc import Mapping
from typing import Final

from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.evidence import Silence
from stream_router.core.lane import LANES, Lane
from stream_router.core.rollout.lane_look import LaneLook, Wanted

_AGAIN_MS: Final = 5_000
"""Milliseconds between two records of one silence; fewer where the prediction deadline is shorter."""


class SilenceRecords:
    """Of one controller. What a predecessor has written of a silence is in the fold, so its end is not missed."""

    def __init__(self) -> None:
        self._said: dict[tuple[int, Lane], tuple[int, bool]] = {}

    def due(
        self, fold: EvidenceFold, wanted: Wanted | None, looks: Mapping[Lane, LaneLook], now: int
    ) -> tuple[Silence, ...]:
        """What is to be written now, and not again; `now` in milliseconds since the epoch."""
        if wanted is None or fold.started(wanted.rollout) is None:
            return ()
        due = []
        for lane in LANES:
            silence = self._found(fold, wanted, lane, looks.get(lane), now)
            if silence is None:
                continue
            begun = (-_AGAIN_MS, lane in fold.silent(wanted.rollout))
            said_at, was_silent = self._said.get((wanted.rollout, lane), begun)
            is_silent = silence.unanswered > 0
            if is_silent != was_silent or (is_silent and now - said_at >= min(_AGAIN_MS, wanted.deadline)):
                self._said[wanted.rollout, lane] = now, is_silent
                due.append(silence)
        return tuple(due)

    def _found(self, fold: EvidenceFold, wanted: Wanted, lane: Lane, look: LaneLook | None, now: int) -> Silence | None:
        """None where nobody knows. A lane without a share is not silent, whatever was left in it."""
        answers = Silence(lane, wanted.rollout, 0, 0)
        if lane not in wanted.lanes:
            return answers
        if look is None or look.rollout != wanted.rollout:
            return None
        if not look.unanswered or is_scored_by_others(fold, look, now - wanted.deadline):
            return answers
        return Silence(lane, wanted.rollout, look.oldest_routed_at, look.unanswered)


def is_scored_by_others(fold: EvidenceFold, look: LaneLook, since: int) -> bool:
    """Whether predictions come although the route's own scoring group does not read the lane.

    Where it never has, they count from the window of the oldest request that seems to wait; where it has, and has no
    members now, from windows that began at `since` or later, a prediction deadline ago, in ms since the epoch: a job
    of ours that has ended gave none of them, as its oldest request waits for longer.
    """
    if look.has_committed and look.members != 0:
        return False
    first = since if look.has_committed else fold.windows.start_of(look.oldest_routed_at)
    return any(
        key.rollout == look.rollout and key.lane == look.lane and tally.predicted > tally.late and key.window >= first
        for key, tally in fold.windows.tallies()
    )
