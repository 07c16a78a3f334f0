"""An open transaction: whatever hangs on it is its own, so that giving one up is dropping it."""

from collections.abc import Callable, Mapping

from confluent_kafka import Consumer, TopicPartition

from stream_router.adapters.kafka.dead_letters import DeadLetters, Unreadable
from stream_router.adapters.kafka.polling import Record
from stream_router.adapters.kafka.producers import LoopProducer
from stream_router.core.routing.header import Headers


class Transaction:
    """Positions, output and limits between begin and commit.

    positions: next offset of each partition that goes with the commit. records: how many
    it handles. opened_at: seconds of a monotonic clock.
    produce, produce_all: as LoopProducer.send and send_all, by order.
    """

    def __init__(
        self, producer: LoopProducer, positions: Mapping[int, int], dead_letters: DeadLetters, opened_at: float
    ) -> None:
        self._producer = producer
        self.positions = dict(positions)
        self.dead_letters = dead_letters.copy()
        self.opened_at = opened_at
        self.produce, self.produce_all = producer.send, producer.send_all
        self._on_commit: list[Callable[[], object]] = []
        self._counted = self.records = 0
        producer.begin()

    def divert(self, record: Record, index: int, error: Exception, headers: Headers | None) -> None:
        """Write a dead letter; `index` is the record's place in its batch, `headers` those of it that could be read.

        Raises DeadLetterLimitError.
        """
        self.dead_letters.on_records(index - self._counted)
        self._counted = index + 1
        letter = self.dead_letters.letter(Unreadable.of(record, headers), error)
        self.produce(*letter.outgoing)
        self.on_commit(letter.on_committed)

    def end_batch(self, records: int, last: Mapping[int, Record]) -> None:
        """A batch of so many records has been handled, dead letters included; `last` has the last of each partition."""
        self.dead_letters.on_records(records - self._counted)
        self._counted = 0
        self.records += records
        self.positions |= {partition: record.offset() + 1 for partition, record in last.items()}

    def on_commit(self, action: Callable[[], object]) -> None:
        """Do this once it is committed, never if it is not."""
        self._on_commit.append(action)

    def commit(self, topic: str, consumer: Consumer, timeout: float) -> None:
        """`topic` is that of the positions; `timeout` in seconds. Raises KafkaException, UnreachableError."""
        offsets = [TopicPartition(topic, partition, offset) for partition, offset in self.positions.items()]
        self._producer.commit(offsets, consumer, timeout)
        for action in self._on_commit:
            action()

    def abort(self) -> None:
        """Raises KafkaException, UnreachableError."""
        self._producer.abort()
