"""What the owners of a process read: chunks in columns, and what cannot be read as dead letters, each counted once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from faust.types import TP

from stream_router.adapters.avro.chunks import Refused, decode_labels, decode_predictions
from stream_router.adapters.clock import monotonic_ms, now_ms
from stream_router.adapters.kafka.dead_letters import DeadLetter, DeadLetters, Unreadable
from stream_router.core.broker_time import BrokerTime
from stream_router.core.evidence import Flags, Integers
from stream_router.core.joining.columns import Labels, Predictions
from stream_router.core.policy import CLOCK_SKEW_MS, Policy
from stream_router.errors import DecodeError

Columns = TypeVar("Columns", Predictions, Labels)


@dataclass(frozen=True)
class Taken(Generic[Columns]):
    """A chunk: the good records in columns, and the others with what is wrong with them, offsets ascending."""

    columns: Columns
    refused: Refused


class Intake:
    """Its methods belong into the loop of the app."""

    def __init__(self, dead_letters: DeadLetters, policy: Policy, broker_time: BrokerTime) -> None:
        self._dead_letters, self._policy, self._broker_time = dead_letters, policy, broker_time
        self._counted: dict[TP, int] = {}

    def predictions(self, records: Sequence[Any]) -> Taken[Predictions]:
        """One that was routed in the future would be kept until then."""
        return self._taken(records, decode_predictions, lambda found: self._beyond(found.routed_at))

    def labels(self, records: Sequence[Any], base: int, watermark: int) -> Taken[Labels]:
        """A label's time is the broker's where the topic is LogAppendTime. Where a producer gives it, it has to be near
        the broker's: a label ahead of it would wait until then, and one older than all that is kept joins nothing.

        Records from offset `base` on come after the partition's `watermark`, so that it tells how old they can be.
        """

        def is_off(found: Labels) -> Flags:
            if self._broker_time.at(monotonic_ms()) is None or not any(
                record.timestamp_type == 0 for record in records
            ):
                return np.zeros(len(found), np.bool_)
            is_old = (found.time < watermark - self._policy.kept_for) & (found.offset >= base)
            return self._beyond(found.time) | is_old

        return self._taken(records, decode_labels, is_off)

    def letters(self, tp: TP, taken: Taken[Any], base: int) -> list[DeadLetter]:
        """The chunk's dead letters, of those from offset `base` on, below which they are written already.

        A record counts for the limit when it is first seen, and not when it is read again. Raises DeadLetterLimitError.
        """
        counted = max(base, self._counted.get(tp, 0))
        offsets: Integers = taken.columns.offset
        good, letters = int(np.searchsorted(offsets, counted)), []
        for record, error in taken.refused:
            if record.offset < base:
                continue
            again = record.offset < counted
            if not again:
                before = int(np.searchsorted(offsets, record.offset))
                self._dead_letters.on_records(before - good)
                good = before
                self._counted[tp] = record.offset + 1
            unreadable = Unreadable(tp.topic, tp.partition, record.offset, record.key, record.value, record.headers)
            letters.append(self._dead_letters.letter(unreadable, error, again=again))
        self._dead_letters.on_records(len(offsets) - good)
        if len(offsets):
            self._counted[tp] = max(self._counted.get(tp, 0), int(offsets[-1]) + 1)
        return letters

    def _taken(
        self,
        records: Sequence[Any],
        decode: Callable[[Sequence[Any]], tuple[Columns, Refused]],
        is_off: Callable[[Columns], Flags],
    ) -> Taken[Columns]:
        columns, refused = decode(records)
        off = is_off(columns)
        if not off.any():
            return Taken(columns, refused)
        offsets = set(columns.offset[off].tolist())
        near = [record for record in records if record.offset not in offsets]
        columns, refused = decode(near)
        refused += [(record, self._far(record)) for record in records if record.offset in offsets]
        return Taken(columns, sorted(refused, key=lambda found: found[0].offset))

    def _beyond(self, times: Integers) -> Flags:
        """Those ahead of what we know of the broker's clock, and of our own: a machine that slept knows less."""
        monotonic = monotonic_ms()
        known = self._broker_time.at(monotonic)
        if known is None:
            return np.zeros(len(times), np.bool_)
        return times > max(known, now_ms()) + CLOCK_SKEW_MS

    def _far(self, record: Any) -> DecodeError:
        known = self._broker_time.at(monotonic_ms())
        return DecodeError(
            f"a time far off the broker's: the record's is {record.timestamp} ms since the epoch, the broker's {known}"
        )
