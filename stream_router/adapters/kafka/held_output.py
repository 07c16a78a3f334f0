"""Output that waits in memory for its commit, so that no transaction is open while a handler takes its time."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from stream_router.adapters.kafka.producers import LoopProducer


class HeldOutput:
    """A LoopProducer in front of another, which begins its transaction only when it is asked to commit.

    An open one holds back every reader of its partitions, and Kafka ends it after transaction.timeout.ms.
    """

    def __init__(self, producer: LoopProducer) -> None:
        self._producer = producer
        self._held: list[Callable[[], None]] = []
        self._has_begun = False

    def take_over(self, timeout: float) -> None:
        """See LoopProducer."""
        self._producer.take_over(timeout)

    def begin(self) -> None:
        self._held, self._has_begun = [], False

    def send(
        self, topic: str, value: Any, key: Any, partition: int = -1, timestamp: int = 0, headers: Any = None
    ) -> None:
        self._held.append(partial(self._producer.send, topic, value, key, partition, timestamp, headers))

    def send_all(
        self,
        topics: Iterable[str],
        values: Iterable[Any],
        keys: Iterable[Any],
        partitions: Iterable[int],
        timestamps: Iterable[int],
        headers: Iterable[Any],
    ) -> None:
        """See LoopProducer; the columns are read at the commit."""
        self._held.append(partial(self._producer.send_all, topics, values, keys, partitions, timestamps, headers))

    def commit(self, offsets: Sequence[TopicPartition], consumer: Consumer, timeout: float) -> None:
        """See LoopProducer."""
        self._has_begun = True  # where it cannot even begin, giving it up finds out what the producer is good for
        self._producer.begin()
        for send in self._held:
            send()
        self._producer.commit(offsets, consumer, timeout)

    def abort(self) -> None:
        """See LoopProducer."""
        if self._has_begun:
            self._producer.abort()

    def retire(self) -> None:
        """See LoopProducer."""
        self._producer.retire()
