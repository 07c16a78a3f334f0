"""Consume, produce and commit the offsets in one Kafka transaction: the loop of the router and of the scoring jobs."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream_router.adapters.health import ASSIGNMENT, Health
from stream_router.adapters.kafka.clients import consumer_for
from stream_router.adapters.kafka.dead_letters import DeadLetters
from stream_router.adapters.kafka.failures import Failure, cause_of, explain, failure_of
from stream_router.adapters.kafka.group import GroupMember, begin_offsets
from stream_router.adapters.kafka.handler import Handler, LoopConfig
from stream_router.adapters.kafka.polling import Record
from stream_router.adapters.kafka.producers import AtLeastOnceProducer, LoopProducer, TransactionalProducer
from stream_router.adapters.kafka.transaction import Transaction
from stream_router.adapters.metrics import TRANSACTION_SECONDS
from stream_router.adapters.watchdog import watchdog
from stream_router.core.dead_letter import DeadLetterLimit
from stream_router.errors import FencedError, GapError, StreamRouterError
from stream_router.settings import Settings

_LINGER: Final = 5
"""Milliseconds for batches to fill."""

_COMMIT_TRIES: Final = 10

_MAX_FAILURES: Final = 10
"""Transactions that may fail in a row before the process gives up."""

_HUNG: Final = 120.0
"""Seconds after which a commit, with all its tries, has hung."""

_log = structlog.get_logger()


class TransactionLoop:
    """Runs a handler over its partitions until told to stop.

    Raises FencedError, GapError, UnreachableError, TopicError, DeadLetterLimitError.
    """

    def __init__(self, settings: Settings, config: LoopConfig, handler: Handler, health: Health | None = None) -> None:
        self._settings, self._config, self._handler = settings, config, handler
        self._health = health or Health(config.group, {})
        limits = settings.dead_letters
        self._dead_letters = DeadLetters(
            config.dead_letters, config.stage, DeadLetterLimit(limits.ratio, limits.consecutive)
        )
        self._transaction: Transaction | None = None
        self._assigned: set[int] = set()
        self._unsaved: dict[int, int] = {}
        self._chosen: dict[int, int] = {}
        self._rewinds = self._failures = 0
        self._producer = _producer(settings, config)
        self._member = GroupMember(_consumer(settings, config), config.topic, self)

    def run(self, stop: Callable[[], bool]) -> None:
        """Returns when `stop()` is true, after the open transaction was committed."""
        try:
            self._producer.take_over()
            self._member.join()
            while not stop():
                self._health.beat()
                self._run_once()
            self._finish_transaction()
        except KafkaException as error:
            self._abandon()
            raise self._explain(error) from error
        except BaseException:
            self._abandon()
            raise
        finally:
            self._member.close()

    def _run_once(self) -> None:
        rewinds = self._rewinds
        polled = self._member.poll(self._config.max_batch, self._config.max_wait)
        if self._rewinds != rewinds:  # a rebalance undid a transaction or took partitions: the batch may be older
            self._rewind()
            return
        # What was revoked while the record waited is somebody else's.
        records = [record for record in polled.records if record.partition() in self._assigned]
        try:
            if records or self._unsaved or self._handler.due():
                self._handle(records)
            if self._transaction and time.monotonic() - self._transaction.opened_at >= self._config.interval:
                self._commit(self._transaction)
        except KafkaException as error:
            self._undo(error)

    def _handle(self, records: Sequence[Record]) -> None:
        if self._transaction is None:
            self._transaction = Transaction(self._producer, self._unsaved, self._dead_letters, time.monotonic())
        self._handler.handle(records, self._transaction)
        self._transaction.end_batch(records)

    def _commit(self, transaction: Transaction) -> None:
        with watchdog(f"commit of a transaction of {self._config.group}", _HUNG):
            transaction.commit(self._config.topic, self._member.client)
        TRANSACTION_SECONDS.observe(time.monotonic() - transaction.opened_at)
        self._dead_letters = transaction.dead_letters
        self._transaction, self._failures = None, 0
        self._unsaved.clear()

    def _finish_transaction(self) -> None:
        if self._transaction is not None:
            try:
                self._commit(self._transaction)
            except KafkaException as error:
                self._undo(error)

    def _undo(self, error: KafkaException) -> None:
        """Give the transaction up and read its records again. Raises the error where that cannot help."""
        cause = cause_of(error)
        self._failures += 1
        if cause.fatal() or failure_of(cause) is Failure.FENCED or self._failures > _MAX_FAILURES:
            raise error
        _log.warning("transaction undone, its records are read again", error=cause.str(), failures=self._failures)
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.abort()
        self._rewind()

    def _abandon(self) -> None:
        """Nothing half done may be committed: neither when the consumer closes, nor after partitions were lost."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            with suppress(KafkaException):  # a fenced producer has no transaction left
                transaction.abort()

    def _rewind(self) -> None:
        self._rewinds += 1
        for begin in self._begin(self._member.client.assignment()):
            self._member.client.seek(begin)

    def _begin(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """Where to read on; a start that the group has not committed yet goes with the next transaction."""
        if not partitions:
            return []
        begin = begin_offsets(self._member.client, partitions, self._config.start, self._chosen)
        unsaved = {at.partition: at.offset for at in begin if at.partition in self._chosen}
        self._unsaved |= unsaved
        if self._transaction is not None:
            self._transaction.positions |= unsaved
        return begin

    def on_assigned(self, partitions: list[TopicPartition]) -> None:
        """See RebalanceListener."""
        begin = self._begin(partitions)
        self._assigned |= {at.partition for at in begin}
        self._member.client.incremental_assign(begin)
        self._health.ready(ASSIGNMENT)
        _log.info("partitions assigned", topic=self._config.topic, offsets={at.partition: at.offset for at in begin})

    def on_revoked(self, partitions: list[TopicPartition]) -> None:
        """See RebalanceListener."""
        self._finish_transaction()
        self._drop(partitions)

    def on_lost(self, partitions: list[TopicPartition]) -> None:
        """See RebalanceListener."""
        self._abandon()
        self._drop(partitions)
        self._health.not_ready(ASSIGNMENT, "the group took the partitions away")

    def _drop(self, partitions: Iterable[TopicPartition]) -> None:
        self._rewinds += 1  # what comes back in the same poll begins again at the group's offset
        for revoked in partitions:
            self._assigned.discard(revoked.partition)
            self._unsaved.pop(revoked.partition, None)
        self._member.client.incremental_unassign(list(partitions))

    def _explain(self, error: KafkaException) -> StreamRouterError:
        cause, config = cause_of(error), self._config
        failure = failure_of(cause)
        if failure is Failure.FENCED:
            return FencedError(
                f"another live process is instance {config.instance!r} of group {config.group} and has taken over, "
                "or this one was frozen or cut off from Kafka for longer than transaction.timeout.ms: start it again, "
                "and give each process its own --instance",
            )
        if failure is Failure.GAP:
            return GapError(
                f"group {config.group} stopped at a gap in topic {config.topic}: {cause.str()}. Records were "
                "deleted before they were read. Decide where to go on, and set the offsets with kafka-consumer-groups",
            )
        return explain(error, self._settings, f"group {config.group} reads topic {config.topic}")


def _producer(settings: Settings, config: LoopConfig) -> LoopProducer:
    if config.delivery == "at-least-once":
        return AtLeastOnceProducer(settings, linger=_LINGER, max_message_bytes=config.max_message_bytes)
    return TransactionalProducer(
        settings,
        f"{config.group}.{config.instance}",
        linger=_LINGER,
        max_message_bytes=config.max_message_bytes,
        tries=_COMMIT_TRIES,
    )


def _consumer(settings: Settings, config: LoopConfig) -> Consumer:
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
    return consumer_for(settings, defaults, contract)
