"""What the owners of a process read: chunks in columns, and what cannot be read as dead letters, each counted once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import numpy as np
import structlog
from faust.types import TP

from stream_router.adapters.avro.chunks import Refused, decode_labels, decode_predictions
from stream_router.adapters.clock import monotonic_ms, now_ms
from stream_router.adapters.kafka.dead_letters import DeadLetter, DeadLetters, Unreadable
from stream_router.adapters.kafka.evidence_log import ResumePoint
from stream_router.core.broker_time import BrokerTime
from stream_router.core.evidence import Flags, Integers
from stream_router.core.joining.columns import Labels, Origin, Predictions
from stream_router.core.policy import CLOCK_SKEW_MS, Policy
from stream_router.errors import DecodeError

_log = structlog.get_logger()

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
    """A chunk: the good records in columns, and the others with what is wrong with them, offsets ascending.

    `far`: offsets of those that are refused for their times alone.
    """

    columns: Columns
    refused: Refused
    far: frozenset[int] = frozenset()


class Intake:
    """Its methods belong into the loop of the app."""

    def __init__(self, dead_letters: DeadLetters, policy: Policy, broker_time: BrokerTime) -> None:
        self._dead_letters, self._policy, self._broker_time = dead_letters, policy, broker_time
        self._counted: dict[TP, int] = {}

    @property
    def now(self) -> int:
        """The broker's time as far as it is known, or this machine's, in milliseconds since the epoch: the later one,
        since a machine that slept knows less of the broker's.
        """
        known = self._broker_time.at(monotonic_ms())
        return now_ms() if known is None else max(known, now_ms())

    def predictions(self, records: Sequence[Any], resume: ResumePoint) -> Taken[Predictions]:
        """One that was routed after it was written would be kept until then: whether it was, its own record tells.

        Long names do not fit into R.evidence.
        """

        def faults(found: Predictions) -> Faults:
            yield from _too_long("request_id", found.request_id, _LONGEST_ID)
            yield from _with_long_names(found.origin)

        def far(found: Predictions) -> Flags:
            is_early = (found.time > 0) & (found.routed_at > found.time + CLOCK_SKEW_MS)
            return is_early | self._is_ahead(found, records, resume.positions.predictions, resume.broker_time)

        return self._taken(records, decode_predictions, faults, far)

    def labels(self, records: Sequence[Any], resume: ResumePoint) -> Taken[Labels]:
        """A label's time is the broker's where the topic is LogAppendTime. Where a producer gives it, it has to be near
        the broker's: a label ahead of it would wait until then, and one older than all that is kept joins nothing.

        Records beyond the positions come after the partition's watermark, so that it tells how old they can be.
        """

        def faults(found: Labels) -> Faults:
            return _too_long("request_id", found.request_id, _LONGEST_ID)

        def far(found: Labels) -> Flags:
            base = resume.positions.ground_truth
            is_ahead = self._is_ahead(found, records, base, resume.broker_time)
            if self._broker_time.at(monotonic_ms()) is None or not _of_producers(records):  # no watermark is checked
                return is_ahead
            return is_ahead | (found.time < resume.watermark - self._policy.kept_for) & (found.offset >= base)

        return self._taken(records, decode_labels, faults, far)

    def letters(self, tp: TP, taken: Taken[Any], base: int) -> list[DeadLetter]:
        """The chunk's dead letters, of those from offset `base` on, below which they are written already.

        A record counts for the limit when it is first seen, and not when it is read again; those with far times never
        do, since the clock of one other machine must not end this one. Raises DeadLetterLimitError.
        """
        counted = max(base, self._counted.get(tp, 0))
        offsets: Integers = taken.columns.offset
        good, letters = int(np.searchsorted(offsets, counted)), []
        for record, error in taken.refused:
            if record.offset < base:
                continue
            again = record.offset < counted or record.offset in taken.far
            if not again:
                before = int(np.searchsorted(offsets, record.offset))
                self._dead_letters.on_records(before - good)
                good = before
                self._counted[tp] = record.offset + 1
            unreadable = Unreadable(tp.topic, tp.partition, record.offset, record.key, record.value, record.headers)
            letters.append(self._dead_letters.letter(unreadable, error, again=again))
        self._dead_letters.on_records(len(offsets) - good)
        far = [offset for offset in taken.far if offset >= counted]
        if far:
            _log.warning("dead letters for their times", records=len(far), first=min(far), **tp._asdict())
        if len(offsets):
            self._counted[tp] = max(self._counted.get(tp, 0), int(offsets[-1]) + 1)
        return letters

    def _taken(
        self,
        records: Sequence[Any],
        decode: Callable[[Sequence[Any]], tuple[Columns, Refused]],
        faults: Callable[[Columns], Faults],
        far: Callable[[Columns], Flags],
    ) -> Taken[Columns]:
        columns, refused = decode(records)
        wrong = dict(faults(columns))
        off = [row for row in np.flatnonzero(far(columns)).tolist() if row not in wrong]
        if not wrong and not off:
            return Taken(columns, refused)
        wrong |= {row: self._far(columns, row) for row in off}
        reasons = {int(columns.offset[row]): reason for row, reason in wrong.items()}
        far_offsets = frozenset(columns.offset[off].tolist())
        columns, refused = decode([record for record in records if record.offset not in reasons])
        refused += [(record, DecodeError(reasons[record.offset])) for record in records if record.offset in reasons]
        return Taken(columns, sorted(refused, key=lambda found: found[0].offset), far_offsets)

    def _is_ahead(self, found: Predictions | Labels, records: Sequence[Any], base: int, said_at: int) -> Flags:
        """Those whose producers were ahead of the broker; below offset `base` when the predecessor spoke of them, at
        `said_at`: what it refused stays refused, though its time may have come meanwhile.
        """
        if not _of_producers(records):
            return np.zeros(len(found), np.bool_)
        now = self.now
        judged_at = np.where(found.offset < base, said_at or now, now)
        ahead: Flags = found.time > judged_at + CLOCK_SKEW_MS
        return ahead

    def _far(self, found: Predictions | Labels, row: int) -> str:
        said = f"the record's is {found.time[row]} ms since the epoch, the broker's {self.now}"
        if isinstance(found, Predictions):
            said += f", that of its routing {found.routed_at[row]}"
        return f"a time far off the broker's or the record's: {said}"


def _of_producers(records: Sequence[Any]) -> bool:
    """Whether any has its time from its producer."""
    return any(record.timestamp_type == 0 for record in records)


def _with_long_names(origins: Sequence[Origin]) -> Faults:
    different = {id(origin): origin for origin in origins}  # a chunk has few
    for name in ("lane", "digest", "model_version"):
        if any(_too_long(name, (getattr(origin, name) for origin in different.values()), _LONGEST_NAME)):
            yield from _too_long(name, [getattr(origin, name) for origin in origins], _LONGEST_NAME)


def _too_long(name: str, texts: Iterable[str], limit: int) -> Faults:
    for row, text in enumerate(texts):
        if len(text) > limit // _MOST_BYTES and (size := len(text.encode())) > limit:
            yield row, f"{name} has {size} bytes, more than {limit}: shorten it in what produces it"
