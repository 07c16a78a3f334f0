"""Reading whole topics, for checks."""

import time
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from stream_router.adapters.kafka.failures import cause_of, passes

_BACK: Final = 30
"""Seconds in which a broker that came back leads its partitions."""


class KafkaRecord(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def kafka_records(
    bootstrap: str,
    topic: str,
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
    deadline: float = 60,
) -> list[KafkaRecord]:
    """All records of the topic up to its end, ordered by partition and offset.

    The end is the last stable offset under read_committed: an open transaction is not waited for.
    """
    consumer, ends = _opened(bootstrap, topic, isolation)
    try:
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in ends])
        unfinished, records, end = set(ends), [], time.monotonic() + deadline
        while unfinished:
            assert time.monotonic() < end, f"{topic} was not read to its end within {deadline} s"
            for message in consumer.consume(5000, 0.1):
                error = message.error()
                if error is None:
                    # Where records keep coming, the end of the partition is never reported.
                    if message.offset() >= ends[message.partition()] - 1:
                        unfinished.discard(message.partition())
                    if message.offset() >= ends[message.partition()]:
                        continue
                    records.append(
                        KafkaRecord(
                            topic,
                            message.partition(),
                            message.offset(),
                            message.timestamp()[1],
                            message.key(),
                            message.value(),
                            list(message.headers() or ()),
                        )
                    )
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own codes are spelt so
                    unfinished.discard(message.partition())
                else:
                    assert error.retriable(), error
    finally:
        consumer.close()
    return sorted(records, key=lambda record: (record.partition, record.offset))


class GrowingTopic:
    """Counts the committed records of a topic, reading on where it stood before."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap, self._topic, self._count = bootstrap, topic, 0
        self._consumer = _reader(bootstrap, "read_committed")
        partitions = _asked(lambda: self._consumer.list_topics(topic, timeout=10)).topics[topic].partitions
        self._next = dict.fromkeys(partitions, 0)
        self._assign()

    def _assign(self) -> None:
        self._consumer.assign([TopicPartition(self._topic, number, offset) for number, offset in self._next.items()])

    def _ends(self, last: float) -> dict[int, int]:
        """The last stable offsets. A client that has lived through an outage may never learn of the leaders again."""
        while True:
            try:
                return {
                    number: self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), 5)[1]
                    for number in self._next
                }
            except KafkaException as error:
                if not passes(cause_of(error)) or time.monotonic() > last:
                    raise
            self._consumer.close()
            time.sleep(0.5)
            self._consumer = _reader(self._bootstrap, "read_committed")
            self._assign()

    def count(self, deadline: float = 60) -> int:
        """Up to the end as it is now."""
        last = time.monotonic() + deadline
        ends = self._ends(last)
        while any(self._next[number] < end for number, end in ends.items()):
            assert time.monotonic() < last, f"{self._topic} was not read to its end within {deadline} s"
            for message in self._consumer.consume(5000, 0.05):
                error = message.error()
                if error is None:
                    self._count += 1
                    self._next[message.partition()] = message.offset() + 1
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own codes are spelt so
                    self._next[message.partition()] = max(self._next[message.partition()], message.offset())
                else:
                    assert passes(error), error
        return self._count

    def close(self) -> None:
        self._consumer.close()


def _reader(bootstrap: str, isolation: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "tests.reader",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.queue.backoff.ms": 10,
            "reconnect.backoff.max.ms": 500,
            "log_level": 0,
        }
    )


def _opened(bootstrap: str, topic: str, isolation: str) -> tuple[Consumer, dict[int, int]]:
    """A reader, and where each partition ends. One made while nobody led may never learn of the leaders."""
    last = time.monotonic() + _BACK
    while True:
        consumer = _reader(bootstrap, isolation)
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            assert partitions, f"topic {topic} does not exist"
            return consumer, {
                number: consumer.get_watermark_offsets(TopicPartition(topic, number), 10)[1] for number in partitions
            }
        except KafkaException as error:
            consumer.close()
            if not passes(cause_of(error)) or time.monotonic() > last:
                raise
        time.sleep(0.5)


def _asked(question: Callable[[], Any]) -> Any:
    """The answer, also of a broker that has just come back and leads nothing yet."""
    deadline = time.monotonic() + _BACK
    while True:
        try:
            return question()
        except KafkaException as error:
            if not passes(cause_of(error)) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
