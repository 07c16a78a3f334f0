"""The one transactional producer, and its at-least-once stand-in for users who prefer speed."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from stream_router.adapters.kafka.clients import TIMEOUT, producer_for
from stream_router.adapters.kafka.failures import cause_of
from stream_router.errors import UnreachableError
from stream_router.settings import Settings

Headers = Sequence[tuple[str, bytes | None]]

_CONTRACT: Final = {"enable.idempotence": True, "partitioner": "murmur2_random"}

_TAKE_OVER_TIMEOUT: Final = 30
"""Seconds; a predecessor's open transaction has to be ended first."""


class Outgoing(NamedTuple):
    """A record to write. A partition of -1 is chosen by key, a timestamp of 0 is the time of sending."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    partition: int = -1
    timestamp: int = 0
    headers: Headers | None = None


class LoopProducer(Protocol):
    """What a transaction of the loop writes with."""

    def take_over(self) -> None:
        """Shut out whoever wrote under our identity before. Raises KafkaException."""

    def begin(self) -> None:
        """Raises KafkaException."""

    def send(
        self, topic: str, value: Any, key: Any, partition: int = -1, timestamp: int = 0, headers: Any = None
    ) -> None:
        """Fields as of Outgoing. Raises KafkaException."""

    def commit(self, offsets: Sequence[TopicPartition], consumer: Consumer) -> None:
        """All that was sent, and the group's offsets with it. Raises KafkaException, UnreachableError."""

    def abort(self) -> None:
        """Raises KafkaException."""


class _Sender:
    def __init__(self, client: Producer) -> None:
        self._client = client

    def send(
        self, topic: str, value: Any, key: Any, partition: int = -1, timestamp: int = 0, headers: Any = None
    ) -> None:
        while True:
            try:
                # By order: keywords cost a quarter of the router's rate.
                return self._client.produce(topic, value, key, partition, None, None, timestamp, headers)
            except BufferError:
                self._client.poll(0.05)


class TransactionalProducer(_Sender):
    """Each method raises KafkaException, also where another process has taken the `transactional_id` over.

    linger: milliseconds for batches to fill. tries: how often what may be tried again is tried.
    """

    def __init__(
        self,
        settings: Settings,
        transactional_id: str,
        *,
        linger: int = 0,
        max_message_bytes: int = 4_000_000,
        tries: int = 1,
    ) -> None:
        defaults = _defaults(linger, max_message_bytes) | {"transaction.timeout.ms": 10_000}
        super().__init__(producer_for(settings, defaults, _CONTRACT | {"transactional.id": transactional_id}))
        self._id, self._tries = transactional_id, tries

    def take_over(self) -> None:
        """End the transaction that a predecessor left open, and shut it out."""
        self._client.init_transactions(_TAKE_OVER_TIMEOUT)

    def begin(self) -> None:
        self._client.begin_transaction()

    def commit(self, offsets: Sequence[TopicPartition], consumer: Consumer) -> None:
        """Raises UnreachableError, too, where Kafka did not finish it in so many tries."""
        # Before the offsets: else the two requests race, and one waits out retry.backoff.ms.
        self._client.flush(TIMEOUT)
        if offsets:
            self._retrying(
                lambda: self._client.send_offsets_to_transaction(
                    list(offsets), consumer.consumer_group_metadata(), TIMEOUT
                )
            )
        self._retrying(lambda: self._client.commit_transaction(TIMEOUT))

    def abort(self) -> None:
        self._client.abort_transaction(TIMEOUT)

    def write(self, records: Iterable[Outgoing], offsets: Sequence[TopicPartition], consumer: Consumer) -> None:
        """One whole transaction."""
        self.begin()
        for record in records:
            self.send(*record)
        self.commit(offsets, consumer)

    def _retrying(self, request: Callable[[], object]) -> None:
        for left in reversed(range(self._tries)):
            try:
                request()
            except KafkaException as error:
                if not cause_of(error).retriable() or self._tries == 1:
                    raise
                if left == 0:
                    raise UnreachableError(
                        f"Kafka did not finish a transaction of {self._id} in {self._tries} tries: {cause_of(error)}"
                    ) from error
            else:
                return


class AtLeastOnceProducer(_Sender):
    """What was sent is there at once, the offsets follow: a crash in between sends records twice."""

    def __init__(self, settings: Settings, *, linger: int = 0, max_message_bytes: int = 4_000_000) -> None:
        self._delivery_error: KafkaError | None = None
        reports = {"on_delivery": self._on_delivery, "delivery.report.only.error": True}
        super().__init__(producer_for(settings, _defaults(linger, max_message_bytes), _CONTRACT | reports))

    def take_over(self) -> None:
        """Nothing is to be shut out."""

    def begin(self) -> None:
        self._delivery_error = None

    def commit(self, offsets: Sequence[TopicPartition], consumer: Consumer) -> None:
        if undelivered := self._client.flush(TIMEOUT):
            late = KafkaError(KafkaError._TIMED_OUT, f"{undelivered} records are not acknowledged")  # noqa: SLF001 - librdkafka's own code is spelt so
            raise KafkaException(late)
        if self._delivery_error is not None:
            raise KafkaException(self._delivery_error)
        if offsets:
            consumer.commit(offsets=list(offsets), asynchronous=False)

    def abort(self) -> None:
        """What was sent stays sent."""

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        self._delivery_error = error or self._delivery_error


def _defaults(linger: int, max_message_bytes: int) -> dict[str, Any]:
    return {
        "linger.ms": linger,
        "compression.type": "lz4",
        "queue.buffering.max.messages": 1_000_000,
        "retry.backoff.ms": 10,
        "enable.sparse.connections": False,  # init_transactions in 4 ms instead of 55 or 505
        "message.max.bytes": max_message_bytes,
    }
