"""What a join has to say since it last said something, and the records of R.evidence that say it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final, TypeVar

from stream_router.core.evidence import MAX_OUTCOMES, BadDelays, Count, Evidence, Outcomes, Positions

MAX_COUNTS: Final = 500
"""Counts that one record may hold; each brings three histograms."""

_KEY_WEIGHT: Final = 5
_TEXT_WEIGHT: Final = 32
"""The key of a column takes as much of a record as so many outcomes, and one more for so many characters."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class JoinOutput:
    """Outcomes and count changes, each exactly once."""

    outcomes: tuple[Outcomes, ...] = ()
    bad_delays: Sequence[BadDelays] = ()
    counts: Sequence[Count] = ()

    def __bool__(self) -> bool:
        return bool(self.outcomes or self.bad_delays or self.counts)

    def records(
        self, *, by: str, written_at: int, partition: int, positions: Positions, watermark: int | None
    ) -> list[Evidence]:
        """At least one record, none too large for its topic; the last carries the positions and the watermark."""
        parts = zip_longest(
            _outcome_parts(self.outcomes),
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


def _outcome_parts(columns: Sequence[Outcomes]) -> Iterator[tuple[Outcomes, ...]]:
    part: list[Outcomes] = []
    room = MAX_OUTCOMES
    for column in columns:
        weight = _KEY_WEIGHT + len(column.key.model_version) // _TEXT_WEIGHT
        first = 0
        while first < len(column):
            if part and room <= weight:
                yield tuple(part)
                part, room = [], MAX_OUTCOMES
            last = min(len(column), first + max(1, room - weight))
            part.append(column.part(slice(first, last)))
            room -= weight + last - first
            first = last
    if part:
        yield tuple(part)


def _parts(items: Sequence[_T], size: int) -> Iterator[tuple[_T, ...]]:
    for first in range(0, len(items), size):
        yield tuple(items[first : first + size])
