"""Reading whole topics, for checks."""

import time
from typing import Literal, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition


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
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        assert partitions, f"topic {topic} does not exist"
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        ends = {number: consumer.get_watermark_offsets(TopicPartition(topic, number), 10)[1] for number in partitions}
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
