"""What a join has to say since it last said something, and the records of R.evidence that say it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from stream_router.core.evidence import (
    LABELLING,
    MAX_OUTCOMES,
    BadDelays,
    Count,
    Evidence,
    OutcomeKey,
    Outcomes,
    Positions,
)

MAX_BYTES: Final = 900_000
"""Of one record, by an estimate that is never too low: brokers take 1 MB unless told otherwise."""

_FIXED: Final = 128
"""Bytes of a key's or a count's numbers and lengths at most."""

_BUCKET: Final = 16
"""Bytes of a bucket and its number at most."""


@dataclass(frozen=True, slots=True)
class JoinOutput:
    """Outcomes and count changes, each exactly once, and the texts that outcomes stand for."""

    outcomes: tuple[Outcomes, ...] = ()
    bad_delays: Sequence[BadDelays] = ()
    counts: Sequence[Count] = ()
    texts: Mapping[float, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.outcomes or self.bad_delays or self.counts or self.texts)

    @property
    def newest_unripe(self) -> int:
        """The latest time of an outcome that waits for later watermarks, in ms since the epoch; 0 where none does.

        Those that tell of a whole horizon are ripe by the watermark that brings them.
        """
        waiting = (column for column in self.outcomes if column.key.metric != LABELLING)
        return max((int(column.time.max()) for column in waiting), default=0)

    def records(
        self, *, by: str, written_at: int, partition: int, positions: Positions, watermark: int | None
    ) -> list[Evidence]:
        """At least one record, none too large for its topic.

        The first carries the texts, the last positions and watermark.
        """
        parts = list(_parts(self)) or [_Part()]
        last = len(parts) - 1
        return [
            Evidence(
                by=by,
                written_at=written_at,
                partition=partition,
                outcomes=tuple(part.outcomes),
                bad_delays=tuple(part.bad_delays),
                counts=tuple(part.counts),
                texts=self.texts if number == 0 else {},
                positions=positions if number == last else None,
                watermark=watermark if number == last else None,
            )
            for number, part in enumerate(parts)
        ]


@dataclass(slots=True)
class _Part:
    """What one record holds, and how many bytes and outcomes it has room for."""

    outcomes: list[Outcomes] = field(default_factory=list)
    bad_delays: list[BadDelays] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)
    room: int = MAX_BYTES
    room_for_outcomes: int = MAX_OUTCOMES

    @property
    def is_empty(self) -> bool:
        return not (self.outcomes or self.bad_delays or self.counts)

    def fitting(self, column: Outcomes, first: int) -> int:
        """How many of the column's outcomes, from `first` on, it takes; what is too large for any it takes singly."""
        room = (self.room - _size_of_key(column.key)) // _size_of_outcome(column)
        return max(min(room, self.room_for_outcomes, len(column) - first), int(self.is_empty))

    def take(self, column: Outcomes) -> None:
        self.outcomes.append(column)
        self.room -= _size_of_key(column.key) + len(column) * _size_of_outcome(column)
        self.room_for_outcomes -= len(column)


def _parts(output: JoinOutput) -> Iterator[_Part]:
    """None that is empty."""
    part = _Part(room=MAX_BYTES - sum(_BUCKET + len(text.encode()) for text in output.texts.values()))
    for column in output.outcomes:
        first = 0
        while first < len(column):
            fitting = part.fitting(column, first)
            if not fitting:
                yield part
                part = _Part()
                continue
            part.take(column.part(slice(first, first + fitting)))
            first += fitting
    for delays in output.bad_delays:
        size = _FIXED + _BUCKET * len(delays.delays)
        if size > part.room and not part.is_empty:
            yield part
            part = _Part()
        part.bad_delays.append(delays)
        part.room -= size
    for count in output.counts:
        size = _size_of_count(count)
        if size > part.room and not part.is_empty:
            yield part
            part = _Part()
        part.counts.append(count)
        part.room -= size
    if not part.is_empty:
        yield part


def _size_of_key(key: OutcomeKey) -> int:
    return _FIXED + sum(len(text.encode()) for text in (key.digest, key.lane, key.model_version, key.metric))


def _size_of_outcome(column: Outcomes) -> int:
    return 32 + (column.bad is not None) + 8 * (column.value is not None)


def _size_of_count(count: Count) -> int:
    buckets = len(count.delays) + len(count.latencies) + len(count.model_latencies)
    return _FIXED + len(count.lane.encode()) + len(count.model_version.encode()) + _BUCKET * buckets
