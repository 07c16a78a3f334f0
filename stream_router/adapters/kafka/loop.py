"""Consume, produce and commit the offsets in one Kafka transaction: the loop of the router and of the scoring jobs."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from stream_router.adapters.health import ASSIGNMENT, Health
from stream_router.adapters.kafka.clients import TIMEOUT
from stream_router.adapters.kafka.dead_letters import DeadLetters
from stream_router.adapters.kafka.failures import Failure, cause_of, explain, failure_of
from stream_router.adapters.kafka.gathering import TURN, Gathering
from stream_router.adapters.kafka.group import GroupMember, begin_offsets
from stream_router.adapters.kafka.handler import Handler, LoopConfig, Unfinished
from stream_router.adapters.kafka.loop_clients import loop_consumer, loop_producer
from stream_router.adapters.kafka.outages import Outages
from stream_router.adapters.kafka.polling import Record
from stream_router.adapters.kafka.producers import COMMIT_TIMEOUT, LoopProducer
from stream_router.adapters.kafka.transaction import Transaction
from stream_router.adapters.metrics import TRANSACTION_SECONDS
from stream_router.errors import FencedError, GapError, StreamRouterError, UnreachableError
from stream_router.settings import Settings

_ASK: Final = 2.0
"""Seconds for a question to the brokers that is asked again and again."""

_RENEW_AFTER: Final = 5.0
"""Seconds for which a consumer may ask for the group's offsets in vain while its producer is answered."""

_MAX_FAILURES: Final = 10
"""Transactions that may fail in a row, for other reasons than an outage, before the process gives up."""

_PAUSE: Final = 0.1
"""Seconds before the next try, times the failures in a row."""

_LAST_COMMIT: Final = 2.0
"""Seconds for the commit with which a loop ends."""

_CLOSE_WHILE_AWAY: Final = 1.0
"""Seconds."""

_MEMBER_FENCED: Final = (KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL)  # noqa: SLF001 - librdkafka's own code is spelt so
"""Of a consumer; the second is how its events tell the first."""

_log = structlog.get_logger()


class TransactionLoop:
    """Runs a handler over its partitions until told to stop.

    Whatever fails undoes the open transaction; its records are read again, from the group's offsets, which
    `_must_read_again` stands for. An outage of Kafka is waited for, and no failure; one that has undone a transaction
    is over with the next commit (`_must_commit`). Raises FencedError, GapError, TopicError, DeadLetterLimitError, and
    StreamRouterError where transactions fail again and again.
    """

    def __init__(self, settings: Settings, config: LoopConfig, handler: Handler, health: Health | None = None) -> None:
        self._settings, self._config, self._handler = settings, config, handler
        self._health = health or Health(config.group, {})
        self._dead_letters = DeadLetters.of(settings, config.dead_letters, config.stage)
        self._outages = Outages(self._health.kafka)
        self._transaction: Transaction | None = None
        self._assigned: set[int] = set()
        self._unsaved: dict[int, int] = {}
        self._chosen: dict[int, int] = {}
        self._must_read_again, self._must_commit = True, False
        self._failures, self._pause_until = 0, 0.0
        self._producer, self._writes, self._producer_since = self._new_producer(), False, 0
        self._member, self._joined, self._has_partitions = self._new_member(), False, False
        self._in_vain_since: float | None = None
        self._gathering = Gathering()
        self._records = 0

    def run(self, stop: Callable[[], bool]) -> None:
        """Returns when `stop()` is true, or its limit is reached, after the open transaction was committed."""
        try:
            while not stop() and self._left():
                self._health.beat()
                self._run_once()
            self._finish_transaction(_LAST_COMMIT)
        except Unfinished:
            self._abandon()
        except KafkaException as error:
            self._abandon()
            raise self._explain(error) from error
        except BaseException:
            self._abandon()
            raise
        finally:
            self._member.close(_CLOSE_WHILE_AWAY if self._outages.away else TIMEOUT)

    def _run_once(self) -> None:
        config = self._config
        if self._must_read_again or self._producer_is_stale or self._outages.away:
            self._recover()
        if not self._joined:
            time.sleep(_PAUSE)
            return
        try:
            records = self._poll()
            # Also what was fetched before a rebalance of this poll.
            if records is None or self._must_read_again or self._producer_is_stale:
                return
            if records or self._unsaved or self._handler.due():
                self._handle(records)
            transaction, keeps_up = self._transaction, len(records) < config.max_batch
            if transaction and (
                keeps_up or not self._left() or time.monotonic() - transaction.opened_at >= config.interval
            ):
                self._commit(transaction)
        except (KafkaException, UnreachableError) as error:
            self._undo(error)

    def _poll(self) -> Sequence[Record] | None:
        """A batch, or None while it may grow. What is done already does not wait for it past the interval."""
        now, wait, count = time.monotonic(), self._config.max_wait, self._left()
        if self._transaction is None:
            return self._gathering.poll(self._member, count, TURN, wait, now)
        wait = max(0.0, min(wait, self._transaction.opened_at + self._config.interval - now))
        return self._gathering.poll(self._member, count, min(wait, TURN), wait, now)

    def _left(self) -> int:
        """Records that the next batch may have; 0 once the limit is reached."""
        config, open_ = self._config, 0 if self._transaction is None else self._transaction.records
        return config.max_batch if config.limit is None else min(config.max_batch, config.limit - self._records - open_)

    def _handle(self, records: Sequence[Record]) -> None:
        if self._transaction is None:
            self._transaction = Transaction(self._producer, self._unsaved, self._dead_letters, time.monotonic())
        last = dict(zip([record.partition() for record in records], records, strict=True))
        if not last.keys() <= self._assigned:  # what was revoked while a record waited is somebody else's
            records = [record for record in records if record.partition() in self._assigned]
            last = {record.partition(): record for record in records}
        self._handler.handle(records, self._transaction)
        self._transaction.end_batch(len(records), last)

    def _commit(self, transaction: Transaction, timeout: float = COMMIT_TIMEOUT) -> None:
        transaction.commit(self._config.topic, self._member.client, timeout)
        TRANSACTION_SECONDS.labels(self._config.group).observe(time.monotonic() - transaction.opened_at)
        self._dead_letters = transaction.dead_letters
        self._records += transaction.records
        self._transaction, self._failures = None, 0
        self._unsaved.clear()
        self._must_commit = False
        self._outages.over()

    def _finish_transaction(self, timeout: float = COMMIT_TIMEOUT) -> None:
        if self._transaction is not None:
            try:
                self._commit(self._transaction, timeout)
            except (KafkaException, UnreachableError) as error:
                self._undo(error)

    def _undo(self, error: KafkaException | UnreachableError) -> None:
        """Give the transaction up; its records are read again. Raises the error where that cannot help."""
        self._bear(error)
        self._must_commit = True
        if self._transaction is None:
            self._replace_producer()  # it could not even begin
        else:
            self._give_up()

    def _give_up(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is None or not self._writes:  # its producer has been replaced
            return
        try:
            transaction.abort()
        except (KafkaException, UnreachableError) as error:
            self._bear(error)
            self._replace_producer()

    def _abandon(self) -> None:
        """Nothing half done may be committed when the consumer closes."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            with suppress(KafkaException, UnreachableError):  # a fenced producer has no transaction left
                transaction.abort()

    def _bear(self, error: KafkaException | UnreachableError) -> None:
        """Prepare to begin anew after this error. Raises it where that cannot help."""
        if isinstance(error, UnreachableError):
            self._outages.note(str(error))
            self._replace_producer()  # whether its transaction was committed is settled when a successor takes over
        else:
            self._bear_told(error)
        self._must_read_again = True
        self._pause_until = time.monotonic() + _PAUSE * max(1, self._failures)

    def _bear_told(self, error: KafkaException) -> None:
        cause = cause_of(error)
        failure = failure_of(cause)
        if failure is Failure.PASSES:
            self._outages.note(cause.str())
        elif failure is Failure.EXPELLED:
            _log.warning("the group has gone on without this process, joining again", error=cause.str())
        elif failure is Failure.FENCED:
            identity = "member" if cause.code() in _MEMBER_FENCED else "producer"
            if not self._outages.excuse(identity):
                raise error
            _log.warning("identity lost in an outage of Kafka, taking it back", identity=identity, error=cause.str())
            if identity == "member":
                self._joined = False
            self._replace_producer()
        elif failure is Failure.FINAL and not cause.fatal() and self._failures < _MAX_FAILURES:
            self._failures += 1
            _log.warning("transaction undone, its records are read again", error=cause.str(), failures=self._failures)
        else:
            raise error

    def _recover(self) -> None:
        """Begin anew at the group's offsets, once whoever wrote under our identity before is shut out."""
        if time.monotonic() < self._pause_until:
            return
        if self._producer_is_stale:
            self._transaction, self._must_read_again = None, True
            self._replace_producer()
        try:
            if not self._writes:
                self._producer.take_over(_ASK)
                self._writes = True
            if not self._joined:
                self._join()
            elif self._must_read_again:
                self._read_again()
            self._must_read_again = False
            if self._has_partitions and not self._must_commit:
                self._outages.over()
        except (KafkaException, UnreachableError) as error:
            self._bear(error)
            if not self._writes and isinstance(error, KafkaException) and not cause_of(error).retriable():
                self._replace_producer()

    def _read_again(self) -> None:
        client = self._member.client
        self._gathering.clear()
        assignment = client.assignment()
        try:
            for begin in self._begin(assignment):
                client.seek(begin)
            if not assignment:  # whether the group answers is asked all the same
                client.committed([TopicPartition(self._config.topic, 0)], _ASK)
        except KafkaException:
            self._renew_in_time()
            raise
        self._in_vain_since = None

    def _renew_in_time(self) -> None:
        """A consumer that has lived through the shutdown of its coordinator may never find another."""
        now = time.monotonic()
        self._in_vain_since = self._in_vain_since or now
        if now - self._in_vain_since >= _RENEW_AFTER:
            self._joined = False

    def _join(self) -> None:
        if self._member.joined:  # one that has lost its identity
            self._member.abandon()
            self._member, self._has_partitions = self._new_member(), False
            self._health.not_ready(ASSIGNMENT, "joining the group anew")
            self._assigned.clear()
            self._unsaved.clear()
        self._gathering.clear()
        self._member.join()
        self._joined, self._in_vain_since = True, None

    def _new_member(self) -> GroupMember:
        return GroupMember(
            loop_consumer(self._settings, self._config, self._outages.on_error), self._config.topic, self
        )

    def _new_producer(self) -> LoopProducer:
        return loop_producer(self._settings, self._config, self._outages.on_error)

    @property
    def _producer_is_stale(self) -> bool:
        """One that has lived through an outage may hang for ever: librdkafka keeps a broker that has left."""
        return self._producer_since != self._outages.number

    def _replace_producer(self) -> None:
        self._producer.retire()
        self._producer, self._writes = self._new_producer(), False
        self._producer_since = self._outages.number

    def _begin(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """Where to read on; a start that the group has not committed yet goes with the next transaction."""
        if not partitions:
            return []
        begin = begin_offsets(self._member.client, partitions, self._config.start, self._chosen, _ASK)
        unsaved = {at.partition: at.offset for at in begin if at.partition in self._chosen}
        self._unsaved |= unsaved
        if self._transaction is not None:
            self._transaction.positions |= unsaved
        return begin

    def on_assigned(self, partitions: list[TopicPartition]) -> None:
        """See RebalanceListener."""
        try:
            begin = self._begin(partitions)
        except KafkaException as error:
            self._bear(error)
            self._give_up()  # all partitions are read again, those whose records stand in it, too
            # Nothing of it is handled before the group's offsets are known.
            begin = [TopicPartition(at.topic, at.partition, OFFSET_BEGINNING) for at in partitions]
        self._assigned |= {at.partition for at in begin}
        self._member.client.incremental_assign(begin)
        self._has_partitions = True
        self._health.ready(ASSIGNMENT)
        _log.info("partitions assigned", topic=self._config.topic, offsets={at.partition: at.offset for at in begin})

    def on_revoked(self, partitions: list[TopicPartition]) -> None:
        """See RebalanceListener."""
        self._finish_transaction()
        self._drop(partitions)

    def on_lost(self, partitions: list[TopicPartition]) -> None:
        """See RebalanceListener."""
        self._give_up()
        self._drop(partitions)
        self._health.not_ready(ASSIGNMENT, "the group took the partitions away")

    def _drop(self, partitions: Iterable[TopicPartition]) -> None:
        # What comes back in the same poll begins again at the group's offset.
        self._must_read_again, self._must_commit = True, False
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
