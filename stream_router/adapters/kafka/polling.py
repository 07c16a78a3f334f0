"""The one way to poll Kafka, and reading topics to their ends without a group."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_router.adapters.kafka.clients import TIMEOUT, reader
from stream_router.adapters.kafka.failures import Failure, explaining, failure_of
from stream_router.errors import UnreachableError
from stream_router.settings import Settings

_COUNT: Final = 2_000
"""Records of one poll on the way to an end."""

_WAIT: Final = 0.05
"""Seconds of it."""

_log = structlog.get_logger()


class Record(Protocol):
    """A fetched record: what the client's own type allows to be missing in a message yet to be sent is there."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes | None]] | None: ...
    def timestamp(self) -> tuple[int, int]: ...
    def error(self) -> KafkaError | None: ...


@dataclass(frozen=True, slots=True)
class Polled:
    """`ends`: partitions read to their ends, and the offsets of these, which lie past transaction markers."""

    records: list[Record] = field(default_factory=list)
    ends: dict[tuple[str, int], int] = field(default_factory=dict)


def poll(consumer: Consumer, count: int, wait: float, gather: float = 0.0) -> Polled:
    """Up to `count` records and events: waits `wait` seconds for a first one, `gather` seconds for those that follow.

    Raises KafkaException for an event that means lost records or a lost identity; what passes is only logged.
    """
    messages = _fetch(consumer, count, wait, gather)
    if not any([message.error() for message in messages]):  # noqa: C419 - a list takes half the time
        return Polled(messages)
    polled = Polled()
    for message in messages:
        error = message.error()
        if error is None:
            polled.records.append(message)
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own code is spelt so
            polled.ends[message.topic(), message.partition()] = message.offset()
        elif failure_of(error) is Failure.PASSES:
            _log.warning("kafka", error=error.str())
        else:
            raise KafkaException(error)
    return polled


def _fetch(consumer: Consumer, count: int, wait: float, gather: float) -> list[Record]:
    """Asked for several at once, the client waits out its time-out where there are fewer."""
    messages = consumer.consume(1, wait)
    if messages and count > 1:
        messages += consumer.consume(count - 1, gather)
    return cast("list[Record]", messages)


class TopicReader:
    """Reads committed records of some partitions of a topic, without a group, from the offsets `starts` on.

    Its methods raise UnreachableError, TopicError, GapError.
    """

    def __init__(self, settings: Settings, topic: str, starts: Mapping[int, int]) -> None:
        self._settings, self._topic = settings, topic
        self._next = {partition: max(0, offset) for partition, offset in starts.items()}  # OFFSET_BEGINNING is negative
        self._consumer = reader(settings)
        self._consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in starts.items()])

    def read_to(self, ends: Mapping[int, int]) -> Iterator[Record]:
        """Yields what is new until every partition has been read to its end, and what came along from behind it."""
        deadline = time.monotonic() + TIMEOUT
        while behind := [partition for partition, end in ends.items() if self._next[partition] < end]:
            if time.monotonic() > deadline:
                raise UnreachableError(f"topic {self._topic} cannot be read to its end: {behind} do not answer")
            with explaining(self._settings, f"reading topic {self._topic}"):
                polled = poll(self._consumer, _COUNT, _WAIT)
            for record in polled.records:
                self._next[record.partition()] = record.offset() + 1
                yield record
            for (_, partition), offset in polled.ends.items():
                self._next[partition] = max(self._next[partition], offset)
            if polled.records or polled.ends:  # counted from here: whoever takes the records may take their time
                deadline = time.monotonic() + TIMEOUT

    def close(self) -> None:
        self._consumer.close()


def has_records(settings: Settings, topic: str, spans: Mapping[int, tuple[int, int]]) -> bool:
    """Whether any partition holds a committed record in its span [from, to) of offsets: lag cannot tell, since a
    transaction's end marker keeps the lag of a finished partition at 1 or more.
    """
    ends = {partition: end for partition, (start, end) in spans.items() if start < end}
    if not ends:
        return False
    topic_reader = TopicReader(settings, topic, {partition: spans[partition][0] for partition in ends})
    try:
        return any(record.offset() < ends[record.partition()] for record in topic_reader.read_to(ends))
    finally:
        topic_reader.close()
