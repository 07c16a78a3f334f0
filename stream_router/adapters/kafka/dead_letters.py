"""The one way of a record that can never be handled: out of its topic, with its reason, counted and within limits."""

from dataclasses import replace
from typing import NamedTuple

import structlog

from stream_router.adapters.kafka.polling import Record
from stream_router.adapters.kafka.producers import Outgoing
from stream_router.adapters.metrics import DEAD_LETTERS
from stream_router.core.dead_letter import DeadLetterLimit, dead_letter_headers, reason_of
from stream_router.core.routing.header import Headers
from stream_router.settings import Settings

_log = structlog.get_logger()


class Unreadable(NamedTuple):
    """A record as it was read."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    @classmethod
    def of(cls, record: Record, headers: Headers | None) -> "Unreadable":
        """`headers` are those of the record that could be read."""
        return cls(
            topic=record.topic(),
            partition=record.partition(),
            offset=record.offset(),
            key=record.key(),
            value=record.value(),
            headers=headers or (),
        )


class DeadLetter(NamedTuple):
    """A record for R.dead-letters; `topic` and `reason` are what it is counted under."""

    outgoing: Outgoing
    topic: str
    reason: str

    def on_committed(self) -> None:
        """It is in its topic: only then, since one of an aborted transaction comes again."""
        DEAD_LETTERS.labels(self.topic, self.reason).inc()


class DeadLetters:
    """Of one stage of a process; `topic` is where they go."""

    def __init__(self, topic: str, stage: str, limit: DeadLetterLimit) -> None:
        self._topic, self._stage, self._limit = topic, stage, limit

    @classmethod
    def of(cls, settings: Settings, topic: str, stage: str) -> "DeadLetters":
        """Within the limits of the settings."""
        limits = settings.dead_letters
        return cls(topic, stage, DeadLetterLimit(limits.ratio, limits.consecutive))

    def copy(self) -> "DeadLetters":
        """With counts of its own."""
        return DeadLetters(self._topic, self._stage, replace(self._limit))

    def on_records(self, count: int) -> None:
        """So many records in a row could be handled."""
        self._limit.on_records(count)

    def letter(self, record: Unreadable, error: Exception, *, again: bool = False) -> DeadLetter:
        """The dead letter: key, value and headers untouched, why and where from in headers added behind them.

        `again`: it is made once more, since the transaction with the former one failed; it has counted already. Raises
        DeadLetterLimitError past the limits.
        """
        if not again:
            where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
            _log.warning("dead letter", reason=reason_of(error), **where)
            self._limit.on_dead_letter(error)
        added = dead_letter_headers(
            topic=record.topic, partition=record.partition, offset=record.offset, stage=self._stage, error=error
        )
        outgoing = Outgoing(self._topic, record.value, record.key, headers=[*record.headers, *added])
        return DeadLetter(outgoing, record.topic, type(error).__name__)


class CountedOnce:
    """Of records of one partition, in order and read again after failures: each counts when it is first seen."""

    def __init__(self, dead_letters: DeadLetters) -> None:
        self._dead_letters, self._counted = dead_letters, 0

    def on_record(self, offset: int) -> None:
        """It could be handled."""
        if offset >= self._counted:
            self._counted = offset + 1
            self._dead_letters.on_records(1)

    def letter(self, record: Unreadable, error: Exception) -> DeadLetter:
        """See DeadLetters. Raises DeadLetterLimitError past the limits."""
        again = record.offset < self._counted
        self._counted = max(self._counted, record.offset + 1)
        return self._dead_letters.letter(record, error, again=again)
