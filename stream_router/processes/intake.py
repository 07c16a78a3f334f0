"""What the owners of a process read: chunks in columns, and what cannot be read as dead letters, each counted once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import numpy as np
from faust.types import TP

from stream_router.adapters.avro.chunks import Refused, decode_labels, decode_predictions
from stream_router.adapters.clock import monotonic_ms, now_ms
from stream_router.adapters.kafka.dead_letters import DeadLetter, DeadLetters, Unreadable
from stream_router.core.broker_time import BrokerTime
from stream_router.core.evidence import Flags, Integers
from stream_router.core.joining.columns import Labels, Origin, Predictions
from stream_router.core.policy import CLOCK_SKEW_MS, Policy
from stream_router.errors import DecodeError

Columns = TypeVar("Columns", Predictions, Labels)

Faults = Iterator[tuple[int, str]]
"""Rows of a chunk, and what is wrong with them."""

_LONGEST_NAME: Final = 256
"""Bytes of a lane, a digest or a version: they stand in each record of R.evidence that speaks of them."""

_LONGEST_ID: Final = 1024
"""Bytes of a request id."""

_MOST_BYTES: Final = 4
"""Of a character."""


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
        """One that was routed in the future would be kept until then, and long names do not fit into R.evidence."""

        def faults(found: Predictions) -> Faults:
            yield from _too_long("request_id", found.request_id, _LONGEST_ID)
            yield from _with_long_names(found.origin)
            yield from self._far(self._beyond(found.routed_at), found)

        return self._taken(records, decode_predictions, faults)

    def labels(self, records: Sequence[Any], base: int, watermark: int) -> Taken[Labels]:
        """A label's time is the broker's where the topic is LogAppendTime. Where a producer gives it, it has to be near
        the broker's: a label ahead of it would wait until then, and one older than all that is kept joins nothing.

        Records from offset `base` on come after the partition's `watermark`, so that it tells how old they can be.
        """

        def faults(found: Labels) -> Faults:
            yield from _too_long("request_id", found.request_id, _LONGEST_ID)
            if self._broker_time.at(monotonic_ms()) is None or not any(
                record.timestamp_type == 0 for record in records
            ):
                return
            is_old = (found.time < watermark - self._policy.kept_for) & (found.offset >= base)
            yield from self._far(self._beyond(found.time) | is_old, found)

        return self._taken(records, decode_labels, faults)

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
        faults: Callable[[Columns], Faults],
    ) -> Taken[Columns]:
        columns, refused = decode(records)
        wrong = dict(faults(columns))
        if not wrong:
            return Taken(columns, refused)
        reasons = {int(columns.offset[row]): reason for row, reason in wrong.items()}
        columns, refused = decode([record for record in records if record.offset not in reasons])
        refused += [(record, DecodeError(reasons[record.offset])) for record in records if record.offset in reasons]
        return Taken(columns, sorted(refused, key=lambda found: found[0].offset))

    def _beyond(self, times: Integers) -> Flags:
        """Those ahead of what we know of the broker's clock, and of our own: a machine that slept knows less."""
        monotonic = monotonic_ms()
        known = self._broker_time.at(monotonic)
        if known is None:
            return np.zeros(len(times), np.bool_)
        return times > max(known, now_ms()) + CLOCK_SKEW_MS

    def _far(self, flags: Flags, found: Predictions | Labels) -> Faults:
        known = self._broker_time.at(monotonic_ms())
        for row in np.flatnonzero(flags).tolist():
            time = int(found.time[row])
            yield row, f"a time far off the broker's: the record's is {time} ms since the epoch, the broker's {known}"


def _with_long_names(origins: Sequence[Origin]) -> Faults:
    different = {id(origin): origin for origin in origins}  # a chunk has few
    for name in ("lane", "digest", "model_version"):
        if any(_too_long(name, (getattr(origin, name) for origin in different.values()), _LONGEST_NAME)):
            yield from _too_long(name, [getattr(origin, name) for origin in origins], _LONGEST_NAME)


def _too_long(name: str, texts: Iterable[str], limit: int) -> Faults:
    for row, text in enumerate(texts):
        if len(text) > limit // _MOST_BYTES and (size := len(text.encode())) > limit:
            yield row, f"{name} has {size} bytes, more than {limit}: shorten it in what produces it"
