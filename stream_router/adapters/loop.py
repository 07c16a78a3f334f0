"""What runs inside a transaction loop: its configuration, its handler, and where the handler writes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import structlog
from confluent_kafka import KafkaError, Message, Producer

from stream_router.adapters.kafka import Record, Start, client_config
from stream_router.adapters.metrics import DEAD_LETTERS
from stream_router.core.dead_letter import DeadLetterLimit, dead_letter_headers
from stream_router.settings import Settings

OnDelivery = Callable[[KafkaError | None, Message], None]
Delivery = Literal["exactly-once", "at-least-once"]

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """One consumer group's loop over one topic.

    `instance` names this process among the group's: a restart under the same name takes its partitions over at once
    and shuts its predecessor out. `max_wait` (seconds) and `max_batch` bound a micro-batch, `interval` (seconds) how
    long a transaction stays open.
    """

    topic: str
    group: str
    instance: str
    dead_letters: str
    stage: str
    start: Start = "earliest"
    max_batch: int = 5_000
    max_wait: float = 0.02
    interval: float = 0.05
    delivery: Delivery = "exactly-once"
    max_message_bytes: int = 2_000_000
    static_member: bool = True


class Handler(Protocol):
    """What a process does with its records, inside the loop's transaction."""

    def handle(self, messages: Sequence[Record], output: "Output") -> None:
        """Produce what follows from a batch."""

    def due(self) -> bool:
        """Whether a transaction is wanted although no record came."""

    def committed(self) -> None:
        """The transaction is committed."""

    def aborted(self) -> None:
        """The transaction is undone, and its records will come again."""


class Output:
    """Where a handler writes: the transaction's producer, and the dead letters."""

    def __init__(self, producer: Producer, config: LoopConfig, limit: DeadLetterLimit) -> None:
        self._producer, self._config = producer, config
        self._limit, self._committed_limit = limit, replace(limit)
        self._counted = 0

    def produce(self, topic: str, value: Any, key: Any, partition: int, timestamp: int, headers: Any) -> None:
        """Positional arguments: keywords cost a quarter of the router's rate."""
        while True:
            try:
                return self._producer.produce(topic, value, key, partition, None, None, timestamp, headers)
            except BufferError:
                self._producer.poll(0.05)

    def end_batch(self, count: int) -> None:
        """The batch had so many records, dead letters included."""
        self._limit.on_records(count - self._counted)
        self._counted = 0

    def committed(self) -> None:
        """What was counted stays counted."""
        self._committed_limit = replace(self._limit)

    def aborted(self) -> None:
        """The records will come, and be counted, again."""
        self._limit, self._counted = replace(self._committed_limit), 0

    def divert(self, message: Record, error: Exception, index: int) -> None:
        """Write a dead letter; `index` is its place in the batch. Raises DeadLetterLimitError past the quota."""
        self._limit.on_records(index - self._counted)
        self._counted = index + 1
        self._limit.on_dead_letter(error)
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        added = dead_letter_headers(
            topic=topic, partition=partition, offset=offset, stage=self._config.stage, error=error
        )
        DEAD_LETTERS.labels(topic, type(error).__name__).inc()
        _log.warning("dead letter", reason=str(error), topic=topic, partition=partition, offset=offset)
        headers = [*(message.headers() or ()), *added]
        self.produce(self._config.dead_letters, message.value(), message.key(), -1, 0, headers)


def producer_config(settings: Settings, config: LoopConfig, on_delivery: OnDelivery) -> dict[str, Any]:
    """Of the loop's producer; `on_delivery` hears of errors where no transaction does."""
    defaults = {
        "linger.ms": 5,
        "compression.type": "lz4",
        "queue.buffering.max.messages": 1_000_000,
        "transaction.timeout.ms": 10_000,
        "retry.backoff.ms": 10,
        "enable.sparse.connections": False,
        "message.max.bytes": config.max_message_bytes,
    }
    contract: dict[str, Any] = {"enable.idempotence": True, "partitioner": "murmur2_random"}
    if config.delivery == "exactly-once":
        contract["transactional.id"] = f"{config.group}.{config.instance}"
    else:
        del defaults["transaction.timeout.ms"]
        contract["on_delivery"] = on_delivery
        contract["delivery.report.only.error"] = True
    return client_config(settings, defaults, contract)


def consumer_config(settings: Settings, config: LoopConfig) -> dict[str, Any]:
    """Of the loop's consumer."""
    defaults: dict[str, Any] = {
        "session.timeout.ms": 10_000,
        "heartbeat.interval.ms": 1_000,
        "fetch.queue.backoff.ms": 10,
        "queued.min.messages": 100_000,
    }
    if config.static_member:
        defaults["group.instance.id"] = config.instance
    contract = {
        "group.id": config.group,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "partition.assignment.strategy": "cooperative-sticky",
    }
    return client_config(settings, defaults, contract)
