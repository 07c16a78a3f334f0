"""The one transactional producer, and its at-least-once stand-in for users who prefer speed."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from stream_router.adapters.detached import detached, within
from stream_router.adapters.kafka.clients import TIMEOUT, producer_for
from stream_router.adapters.kafka.failures import cause_of
from stream_router.core.routing.header import Headers
from stream_router.errors import UnreachableError
from stream_router.settings import Settings

_CONTRACT: Final = {"enable.idempotence": True, "partitioner": "murmur2_random"}

COMMIT_TIMEOUT: Final = 6.0
"""Seconds for all that a commit asks of the brokers."""

_SLACK: Final = 1.0
"""Seconds after which a call has hung that should have timed out by itself."""

OnError = Callable[[KafkaError], None]
OnDelivery = Callable[[KafkaError | None, Message], None]


class Outgoing(NamedTuple):
    """A record to write. A partition of -1 is chosen by key, a timestamp of 0 is the time of sending."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    partition: int = -1
    timestamp: int = 0
    headers: Headers | None = None


class Member(Protocol):
    """What a transaction has to know of the group whose offsets it carries: a Consumer, or one in its place."""

    def consumer_group_metadata(self) -> Any: ...


class LoopProducer(Protocol):
    """What a transaction of the loop writes with."""

    def take_over(self, timeout: float) -> None:
        """Shut out whoever wrote under our identity before. Raises KafkaException, UnreachableError."""

    def begin(self) -> None:
        """Raises KafkaException."""

    def send(
        self, topic: str, value: Any, key: Any, partition: int = -1, timestamp: int = 0, headers: Any = None
    ) -> None:
        """Fields as of Outgoing. Raises KafkaException."""

    def send_all(
        self,
        topics: Iterable[str],
        values: Iterable[Any],
        keys: Iterable[Any],
        partitions: Iterable[int],
        timestamps: Iterable[int],
        headers: Iterable[Any],
    ) -> None:
        """Records by columns, of which the shortest ends the batch. Raises KafkaException."""

    def commit(self, offsets: Sequence[TopicPartition], consumer: Consumer, timeout: float) -> None:
        """All that was sent, and the group's offsets with it. Raises KafkaException, UnreachableError."""

    def abort(self) -> None:
        """Raises KafkaException, UnreachableError."""

    def retire(self) -> None:
        """Let go of the client, whose end may take as long as Kafka is away. Nothing can be done with it afterwards."""


class _Sender:
    def __init__(self, client: Producer) -> None:
        self._client = client

    def retire(self) -> None:
        """See LoopProducer."""
        last = [self._client]
        del self._client
        detached(last.clear, name="end of a producer")

    def send(
        self,
        topic: str,
        value: Any,
        key: Any,
        partition: int = -1,
        timestamp: int = 0,
        headers: Any = None,
        report: OnDelivery | None = None,
    ) -> None:
        while True:
            try:
                # By order: keywords cost a quarter of the router's rate.
                return self._client.produce(topic, value, key, partition, report, None, timestamp, headers)
            except BufferError:
                self._client.poll(0.05)

    def send_all(
        self,
        topics: Iterable[str],
        values: Iterable[Any],
        keys: Iterable[Any],
        partitions: Iterable[int],
        timestamps: Iterable[int],
        headers: Iterable[Any],
    ) -> None:
        """See LoopProducer."""
        produce = self._client.produce
        for topic, value, key, partition, timestamp, added in zip(  # noqa: B905 - `topics` may be endless
            topics, values, keys, partitions, timestamps, headers
        ):
            try:
                produce(topic, value, key, partition, None, None, timestamp, added)
            except BufferError:
                self.send(topic, value, key, partition, timestamp, added)


class TransactionalProducer(_Sender):
    """Each method raises KafkaException, also where another process has taken the `transactional_id` over.

    Those that ask something of the brokers raise UnreachableError, too, where they get no answer in time: whether the
    transaction was committed is not known then. A successor's take_over settles it; this one has to be retired.

    Each such call has a thread of its own, since librdkafka does not keep its own timeouts: a request for a coordinator
    that could not be found waits until the state of some connection changes (rd_kafka_coord_req in rdkafka_coord.c).

    linger: milliseconds for batches to fill.
    """

    def __init__(
        self,
        settings: Settings,
        transactional_id: str,
        *,
        linger: int = 0,
        max_message_bytes: int = 4_000_000,
        on_error: OnError | None = None,
    ) -> None:
        defaults = _defaults(linger, max_message_bytes) | {"transaction.timeout.ms": 10_000}
        contract = _CONTRACT | {"transactional.id": transactional_id} | _told(on_error)
        super().__init__(producer_for(settings, defaults, contract))
        self._id = transactional_id

    @classmethod
    def in_place(cls, settings: Settings, transactional_id: str) -> "TransactionalProducer":
        """One that has taken over."""
        producer = cls(settings, transactional_id)
        try:
            producer.take_over()
        except BaseException:
            producer.retire()
            raise
        return producer

    def take_over(self, timeout: float = TIMEOUT) -> None:
        """End the transaction that a predecessor left open, and shut it out. May be called again after a time-out."""
        self._bounded(timeout, partial(self._client.init_transactions, timeout))
        self._client.poll(0)  # what is left to be told of an outage belongs to the time before

    def begin(self) -> None:
        self._client.begin_transaction()

    def commit(self, offsets: Sequence[TopicPartition], consumer: Member, timeout: float = COMMIT_TIMEOUT) -> None:
        """See LoopProducer."""
        self._bounded(timeout, partial(self._commit, self._client, list(offsets), consumer, timeout))

    def abort(self) -> None:
        self._bounded(COMMIT_TIMEOUT, partial(self._client.abort_transaction, COMMIT_TIMEOUT))

    def write(self, records: Iterable[Outgoing], offsets: Sequence[TopicPartition], consumer: Member) -> int | None:
        """One whole transaction. Returns when the broker appended a record of it, in milliseconds since the epoch; None
        where no topic written to keeps that time.
        """
        appended = _AppendTime()
        self.begin()
        for record in records:
            self.send(*record, report=appended)
        self.commit(offsets, consumer)
        return appended.time

    def _commit(self, client: Producer, offsets: list[TopicPartition], consumer: Member, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        # Before the offsets: else the two requests race, and one waits out retry.backoff.ms.
        with suppress(SystemError):  # a fatal error, raised into a delivery report: the next call tells it
            client.flush(timeout)
        if offsets:
            group = consumer.consumer_group_metadata()
            self._until(deadline, partial(client.send_offsets_to_transaction, offsets, group))
        self._until(deadline, client.commit_transaction)

    def _until(self, deadline: float, request: Callable[[float], object]) -> None:
        """Ask, and again where that is allowed, as long as there is time."""
        while True:
            try:
                request(max(0.1, deadline - time.monotonic()))
            except KafkaException as error:
                if not cause_of(error).retriable():
                    raise
                if time.monotonic() >= deadline:
                    raise self._late(cause_of(error).str()) from error
            else:
                return

    def _bounded(self, seconds: float, call: Callable[[], object]) -> None:
        try:
            within(seconds + _SLACK, call, f"a transaction of {self._id}")
        except TimeoutError as error:
            raise self._late(str(error)) from None

    def _late(self, why: str) -> UnreachableError:
        return UnreachableError(f"Kafka did not finish a transaction of {self._id} in time: {why}")


class _AppendTime:
    """Hears from delivery reports when the broker appended the newest record, where its topic says so."""

    def __init__(self) -> None:
        self.time: int | None = None

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        kind, time_ = message.timestamp()
        if error is None and kind == TIMESTAMP_LOG_APPEND_TIME:
            self.time = time_


class AtLeastOnceProducer(_Sender):
    """What was sent is there at once, the offsets follow: a crash in between sends records twice."""

    def __init__(
        self,
        settings: Settings,
        *,
        linger: int = 0,
        max_message_bytes: int = 4_000_000,
        on_error: OnError | None = None,
    ) -> None:
        self._delivery_error: KafkaError | None = None
        reports = {"on_delivery": self._on_delivery, "delivery.report.only.error": True} | _told(on_error)
        super().__init__(producer_for(settings, _defaults(linger, max_message_bytes), _CONTRACT | reports))

    def take_over(self, timeout: float) -> None:
        """Nothing is to be shut out."""
        del timeout
        self._client.poll(0)

    def begin(self) -> None:
        self._delivery_error = None

    def check(self) -> None:
        """Raises KafkaException where something that was sent since `begin` could not be delivered."""
        self._client.poll(0)
        if self._delivery_error is not None:
            raise KafkaException(self._delivery_error)

    def deliver(self, timeout: float) -> None:
        """Wait until all that was sent is there. Raises KafkaException."""
        if undelivered := self._client.flush(timeout):
            late = KafkaError(KafkaError._TIMED_OUT, f"{undelivered} records are not acknowledged")  # noqa: SLF001 - librdkafka's own code is spelt so
            raise KafkaException(late)
        self.check()

    def commit(self, offsets: Sequence[TopicPartition], consumer: Consumer, timeout: float) -> None:
        """See LoopProducer."""
        self.deliver(timeout)
        if offsets:
            commit = partial(consumer.commit, offsets=list(offsets), asynchronous=False)
            try:
                within(timeout, commit, "the commit of offsets")
            except TimeoutError as error:
                raise UnreachableError(f"Kafka did not take the group's offsets: {error}") from None

    def abort(self) -> None:
        """What was sent stays sent."""

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        self._delivery_error = error or self._delivery_error


def _told(on_error: OnError | None) -> dict[str, Any]:
    return {} if on_error is None else {"error_cb": on_error}


def _defaults(linger: int, max_message_bytes: int) -> dict[str, Any]:
    return {
        "linger.ms": linger,
        "compression.type": "lz4",
        "queue.buffering.max.messages": 1_000_000,
        "retry.backoff.ms": 10,
        "enable.sparse.connections": False,  # init_transactions in 4 ms instead of 55 or 505
        "message.max.bytes": max_message_bytes,
    }
