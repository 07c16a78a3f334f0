"""Consume, produce and commit the offsets in one Kafka transaction: the loop of the router and of the scoring jobs."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from stream_router.adapters.kafka import TIMEOUT, Record, begin_offsets, explain, fetch
from stream_router.adapters.loop import Handler, LoopConfig, Output, consumer_config, producer_config
from stream_router.adapters.metrics import TRANSACTION_SECONDS
from stream_router.adapters.watchdog import watchdog
from stream_router.core.dead_letter import DeadLetterLimit
from stream_router.errors import FencedError, StreamRouterError
from stream_router.settings import Settings

RebalanceCallback = Callable[[Consumer, list[TopicPartition]], None]

_FENCED: Final = {
    KafkaError._FENCED,  # noqa: SLF001 - librdkafka's own codes are spelt so
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.FENCED_INSTANCE_ID,
}
_PATIENCE: Final = 10
"""Transactions that may fail in a row before the process gives up."""
_HUNG: Final = 120.0
"""Seconds after which a commit, with all its tries, has hung."""

_log = structlog.get_logger()


class TransactionLoop:
    """Runs a handler over its partitions until told to stop. Raises FencedError, UnreachableError, TopicError."""

    def __init__(self, settings: Settings, config: LoopConfig, handler: Handler) -> None:
        self._settings, self._config, self._handler = settings, config, handler
        self._transactional = config.delivery == "exactly-once"
        self._positions: dict[int, int] = {}
        self._open_since: float | None = None
        self._unsaved_start = False
        self._chosen: dict[int, int] = {}
        self._rewinds = 0
        self._failures = 0
        self._closing = False
        self._callback_error: KafkaException | StreamRouterError | None = None
        self._delivery_error: KafkaError | None = None
        self._producer = Producer(producer_config(settings, config, self._on_delivery))
        self._consumer = Consumer(consumer_config(settings, config))
        limits = settings.dead_letters
        self._output = Output(self._producer, config, DeadLetterLimit(limits.ratio, limits.consecutive))

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        self._delivery_error = error or self._delivery_error

    def run(self, stop: Callable[[], bool]) -> None:
        """Returns when `stop()` is true, after the open transaction was committed."""
        try:
            if self._transactional:
                self._producer.init_transactions(30)
            self._consumer.subscribe(
                [self._config.topic],
                on_assign=self._guarded(self._on_assign),
                on_revoke=self._guarded(self._on_revoke),
                on_lost=self._guarded(self._on_lost),
            )
            while not stop():
                self._run_once(time.monotonic())
            self._finish_transaction()
        except KafkaException as error:
            self._undo()
            raise self._explain(error) from error
        except BaseException:
            self._undo()
            raise
        finally:
            self._close()

    def _run_once(self, now: float) -> None:
        rewinds = self._rewinds
        messages = self._records(fetch(self._consumer, self._config.max_batch, self._config.max_wait))
        if self._callback_error is not None:
            raise self._callback_error
        if self._rewinds != rewinds:  # a rebalance undid a transaction: the batch may be from before or after
            self._rewind()
            return
        try:
            if messages or self._unsaved_start or self._handler.due():
                self._begin(now)
                self._handler.handle(messages, self._output)
                self._output.end_batch(len(messages))
                for message in messages:
                    self._positions[message.partition()] = message.offset() + 1
            if self._open_since is not None and time.monotonic() - self._open_since >= self._config.interval:
                self._commit()
        except KafkaException as error:
            self._abort(error)

    def _records(self, messages: Iterable[Record]) -> list[Record]:
        """The batch without events. An event that means lost records, or a lost identity, ends the process."""
        records = []
        for message in messages:
            error = message.error()
            if error is None:
                if message.partition() in self._positions:  # else it was revoked while the record waited
                    records.append(message)
            elif error.fatal() or error.code() in _FENCED or not (error.retriable() or _passes(error)):
                raise KafkaException(error)
            else:
                _log.warning("kafka", error=error.str())
        return records

    def _begin(self, now: float) -> None:
        if self._open_since is None:
            if self._transactional:
                self._producer.begin_transaction()
            self._open_since = now

    def _commit(self) -> None:
        with watchdog(f"commit of a transaction of {self._config.group}", _HUNG):
            self._commit_offsets()
        self._output.committed()
        self._handler.committed()

    def _commit_offsets(self) -> None:
        # Before the offsets: else the two requests race, and one waits out retry.backoff.ms.
        undelivered = self._producer.flush(TIMEOUT)
        offsets = [
            TopicPartition(self._config.topic, partition, offset) for partition, offset in self._positions.items()
        ]
        if self._transactional:
            if offsets:
                self._retrying(
                    lambda: self._producer.send_offsets_to_transaction(
                        offsets, self._consumer.consumer_group_metadata(), TIMEOUT
                    )
                )
            self._retrying(lambda: self._producer.commit_transaction(TIMEOUT))
        else:
            if undelivered:
                late = KafkaError(KafkaError._TIMED_OUT, f"{undelivered} records are not acknowledged")  # noqa: SLF001 - as above
                raise KafkaException(late)
            if self._delivery_error is not None:
                raise KafkaException(self._delivery_error)
            if offsets:
                self._consumer.commit(offsets=offsets, asynchronous=False)
        if self._open_since is not None:
            TRANSACTION_SECONDS.observe(time.monotonic() - self._open_since)
        self._open_since, self._unsaved_start, self._failures = None, False, 0

    def _retrying(self, request: Callable[[], object]) -> None:
        for _ in range(_PATIENCE):
            try:
                request()
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
            else:
                return
        raise StreamRouterError(f"Kafka did not finish a transaction of {self._config.group} in {_PATIENCE} tries")

    def _abort(self, error: KafkaException) -> None:
        """Undo the transaction and read its records again; give up where that cannot help."""
        cause = error.args[0]
        self._failures += 1
        if cause.fatal() or cause.code() in _FENCED or self._failures > _PATIENCE:
            raise error
        _log.warning("transaction undone, its records are read again", error=cause.str(), failures=self._failures)
        if self._open_since is not None and self._transactional:
            self._producer.abort_transaction(TIMEOUT)
        self._open_since = self._delivery_error = None
        self._output.aborted()
        self._handler.aborted()
        self._rewind()

    def _undo(self) -> None:
        """Before an end with an error: nothing half done may be committed when the consumer closes."""
        if self._open_since is not None and self._transactional:
            with suppress(KafkaException):  # a fenced producer has no transaction left
                self._producer.abort_transaction(TIMEOUT)
        self._open_since = None

    def _rewind(self) -> None:
        self._rewinds += 1
        assigned = self._consumer.assignment()
        if not assigned:
            return
        begin = self._begin_offsets(assigned)
        self._positions = {place.partition: place.offset for place in begin}
        for place in begin:
            self._consumer.seek(place)

    def _finish_transaction(self) -> None:
        if self._open_since is not None:
            try:
                self._commit()
            except KafkaException as error:
                self._abort(error)

    def _guarded(self, callback: RebalanceCallback) -> RebalanceCallback:
        """The client loses an exception of a callback: keep it for the loop to raise."""

        def guarded(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            try:
                callback(consumer, partitions)
            except (KafkaException, StreamRouterError) as error:
                self._callback_error = error

        return guarded

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._closing:
            return
        begin = self._begin_offsets(partitions)
        self._positions.update({place.partition: place.offset for place in begin})
        consumer.incremental_assign(begin)
        _log.info("partitions assigned", topic=self._config.topic, offsets={p.partition: p.offset for p in begin})

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._finish_transaction()
        self._drop(partitions)
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """The group has given our partitions to others: what is open must not be committed."""
        self._undo()
        self._output.aborted()
        self._handler.aborted()
        self._drop(partitions)
        consumer.incremental_unassign(partitions)

    def _drop(self, partitions: Iterable[TopicPartition]) -> None:
        for place in partitions:
            self._positions.pop(place.partition, None)

    def _begin_offsets(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Where to read on; a start that the group has not committed yet goes with the next transaction."""
        places = begin_offsets(self._consumer, partitions, self._config.start, self._chosen)
        self._unsaved_start = bool(self._chosen)
        return places

    def _explain(self, error: KafkaException) -> StreamRouterError:
        cause, config = error.args[0], self._config
        if cause.code() in _FENCED or (cause.fatal() and "fenced" in cause.str().lower()):
            return FencedError(
                f"another live process is instance {config.instance!r} of group {config.group} and has taken over, "
                "or this one was frozen or cut off from Kafka for longer than transaction.timeout.ms: start it again, "
                "and give each process its own --instance",
            )
        if cause.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001 - as above
            return StreamRouterError(
                f"group {config.group} stopped at a gap in topic {config.topic}: {cause.str()}. Records were "
                "deleted before they were read. Decide where to go on, and set the offsets with kafka-consumer-groups",
            )
        return explain(error, self._settings, f"group {config.group} reads topic {config.topic}")

    def _close(self) -> None:
        self._closing = True
        try:
            self._consumer.close()
        except KafkaException as error:
            _log.warning("consumer closed with an error", error=str(error))


def _passes(error: KafkaError) -> bool:
    """Errors that librdkafka mends by itself."""
    return error.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT)  # noqa: SLF001 - as above
