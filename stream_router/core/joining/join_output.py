"""What a join has to say since it last said something, and the records of R.evidence that say it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final, NamedTuple, TypeVar

from stream_router.core.evidence import (
    MAX_OUTCOMES,
    BadDelays,
    Count,
    Evidence,
    Outcome,
    Positions,
    Tally,
)

MAX_COUNTS: Final = 500
"""Counts that one record may hold; each brings two histograms."""

_T = TypeVar("_T")


class CountKey(NamedTuple):
    """Predictions that have all this in common are counted together; `window` is its start, ms since the epoch."""

    window: int
    epoch: int
    digest: str
    rollout: int
    lane: str
    model_version: str


@dataclass(frozen=True, slots=True)
class JoinOutput:
    """Outcomes and count changes, each exactly once."""

    outcomes: Sequence[Outcome] = ()
    bad_delays: Sequence[BadDelays] = ()
    counts: Sequence[Count] = ()

    def __bool__(self) -> bool:
        return bool(self.outcomes or self.bad_delays or self.counts)

    def records(
        self, *, by: str, written_at: int, partition: int, positions: Positions, watermark: int | None
    ) -> list[Evidence]:
        """At least one record, none too large for its topic; the last carries the positions and the watermark."""
        parts = zip_longest(
            _parts(self.outcomes, MAX_OUTCOMES),
            _parts(self.bad_delays, MAX_COUNTS),
            _parts(self.counts, MAX_COUNTS),
            fillvalue=(),
        )
        contents = list(parts) or [((), (), ())]
        last = len(contents) - 1
        return [
            Evidence(
                by=by,
                written_at=written_at,
                partition=partition,
                outcomes=outcomes,
                bad_delays=delays,
                counts=counts,
                positions=positions if number == last else None,
                watermark=watermark if number == last else None,
            )
            for number, (outcomes, delays, counts) in enumerate(contents)
        ]


def counts_of(changes: dict[CountKey, Tally]) -> list[Count]:
    """One Count for each window, rollout, lane and version: epochs of one rollout count together."""
    merged: dict[tuple[int, int, str, str], Tally] = {}
    for key, change in changes.items():
        total = merged.setdefault((key.window, key.rollout, key.lane, key.model_version), Tally())
        total.add(change)
    return [
        Count(
            window=window,
            rollout=rollout,
            lane=lane,
            model_version=version,
            predicted=change.predicted,
            errors=change.errors,
            late=change.late,
            labelled=change.labelled,
            correct=change.correct,
            revised=change.revised,
            delays=dict(change.delays),
            latencies=dict(change.latencies),
            model_latencies=dict(change.model_latencies),
        )
        for (window, rollout, lane, version), change in merged.items()
    ]


def _parts(items: Sequence[_T], size: int) -> Iterator[tuple[_T, ...]]:
    for first in range(0, len(items), size):
        yield tuple(items[first : first + size])
