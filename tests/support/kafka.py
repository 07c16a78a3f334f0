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
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "tests.reader",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.queue.backoff.ms": 10,
        }
    )
    try:
        partitions = _asked(lambda: consumer.list_topics(topic, timeout=10)).topics[topic].partitions
        assert partitions, f"topic {topic} does not exist"
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        ends = {number: _end(consumer, TopicPartition(topic, number)) for number in partitions}
        unfinished, records, end = set(partitions), [], time.monotonic() + deadline
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


def _end(consumer: Consumer, at: TopicPartition) -> int:
    end: int = _asked(lambda: consumer.get_watermark_offsets(at, 10))[1]
    return end


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
