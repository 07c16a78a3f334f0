"""The controller: reads R.evidence, publishes windows, writes rollbacks to Kafka first and then to Redis."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import structlog

from stream_router.adapters.avro.evidence import encode_evidence
from stream_router.adapters.avro.log_records import encode_log_record
from stream_router.adapters.avro.records import encode_windowed_accuracy
from stream_router.adapters.clock import now_ms
from stream_router.adapters.kafka.clients import partition_count
from stream_router.adapters.kafka.control_topics import ControlTopics
from stream_router.adapters.kafka.controller_log import ControllerLog, evidence_of
from stream_router.adapters.kafka.dead_letters import CountedOnce, DeadLetter, DeadLetters, Unreadable
from stream_router.adapters.kafka.polling import Record
from stream_router.adapters.kafka.producers import Outgoing
from stream_router.adapters.kafka.record_headers import readable_headers
from stream_router.adapters.metrics import ROLLBACKS
from stream_router.adapters.redis.jobs import RedisJobStore
from stream_router.adapters.redis.routers import RedisRouterStore
from stream_router.adapters.redis.store import RedisSplitStore
from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.evidence import EpochInForce, Evidence
from stream_router.core.policy import Policy
from stream_router.core.rollout.controller import Controller, Writes
from stream_router.core.rollout.leader import Leader
from stream_router.core.rollout.log_records import Refusal, Transition
from stream_router.core.rollout.rollout_event import RolloutEvent
from stream_router.core.route import Route
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.split_store import call_until_read
from stream_router.errors import DecodeError, GapError, StreamRouterError, UnreachableError
from stream_router.processes.lane_watch import LaneWatch
from stream_router.processes.leading import Leading, Stores
from stream_router.processes.snapshots import Snapshots
from stream_router.processes.telling import Telling
from stream_router.settings import Settings

_PAUSE: Final = 0.1
"""Seconds to wait for evidence before the other topics are looked at."""

_WRITE_EVERY: Final = 1.0
"""Seconds between transactions while nobody waits for what follows from the records: windows are looked at by people,
and a rollback would wait for one under way.
"""

_TELL_EVERY: Final = 2.0
"""Seconds between two words on how far a controller has read before it acts."""

_AFTER_ERROR: Final = 1.0
"""Seconds before a new term."""

_log = structlog.get_logger()


def control(settings: Settings, route: Route, policy: Policy, who: str, stop: threading.Event) -> None:
    """Be the route's controller whenever its group says so, until `stop` is set.

    What fails ends one term of office, and the next begins anew from what Kafka holds. Raises what that cannot mend:
    TopicError where a topic is missing, DeadLetterLimitError, SettingError.
    """
    partitions = partition_count(settings, route.topic("predictions"))
    stores = Stores(RedisSplitStore(route, settings), RedisJobStore(route, settings), RedisRouterStore(route, settings))
    snapshots = Snapshots(settings, route)
    dead_letters = CountedOnce(DeadLetters.of(settings, route.topic("dead-letters"), "monitor"))
    over = threading.Event()
    watch = LaneWatch.begun(settings, route, over)
    try:
        while not stop.is_set():
            term = ControllerTerm(
                route,
                ControllerLog(settings, route),
                ControlTopics(settings, route),
                snapshots,
                stores,
                dead_letters,
                watch,
                policy=policy,
                partitions=partitions,
                who=who,
            )
            try:
                term.serve(stop.is_set)
            except StreamRouterError as error:
                if not _a_new_term_mends(error):
                    raise
                _log.warning("the controller begins anew", error=str(error))
                stop.wait(_AFTER_ERROR)
            finally:
                term.close()
    finally:
        over.set()
        stores.close()


def _a_new_term_mends(error: StreamRouterError) -> bool:
    """What a restart mends; a gap, past which the next term holds the rollout in force; and what has no class of its
    own, such as the refusal of a commit by a group that has gone on without us.
    """
    return error.restart_mends or type(error) in (GapError, StreamRouterError)


class ControllerTerm:
    """One membership in the controller's group; ends with an error or with the group's decision for another."""

    def __init__(
        self,
        route: Route,
        log: ControllerLog,
        topics: ControlTopics,
        snapshots: Snapshots,
        stores: Stores,
        dead_letters: CountedOnce,
        watch: LaneWatch,
        *,
        policy: Policy,
        partitions: int,
        who: str,
    ) -> None:
        self._route, self._store, self._who = route, stores.splits, who
        self._log, self._topics, self._snapshots, self._dead_letters = log, topics, snapshots, dead_letters
        self._watch, self._telling = watch, Telling(route, stores.splits)
        self._leading = Leading(Leader(policy=policy), stores, who)
        self._policy, self._partitions = policy, partitions
        self._unreadable: list[DeadLetter] = []
        self._rolled_back: set[int] = set()
        self._is_live = False
        self._written_at = self._told_at = time.monotonic()

    def close(self) -> None:
        self._watch.want(None)
        self._telling.close()
        self._log.close()
        self._topics.close()

    def serve(self, stop: Callable[[], bool]) -> None:
        """Wait to be elected, then read and act until `stop()` or until the group chooses another."""
        records: Sequence[Record] = ()
        while not stop() and not self._log.leads:
            records = self._log.read(_PAUSE)
        if stop():
            return
        controller, term = self._begun(), self._log.term
        if controller.next_offset != self._log.replay_from:
            records = ()
            self._log.begin_at(controller.next_offset)
        while not stop() and self._log.leads and self._log.term == term:
            self._read(controller, records)
            # Not only where nothing more is on its way: under load evidence never stops coming.
            if self._log.caught_up:
                self._act(controller)
            elif time.monotonic() - self._told_at >= _TELL_EVERY:
                self._tell_progress(controller)
            records = self._log.read(_PAUSE)

    def _learn(self, controller: Controller) -> None:
        # What a predecessor wrote before it was shut out stands before the ends of now.
        news = self._topics.read() if self._topics.at_ends else self._topics.read_to_ends()
        for applied in news.splits:
            controller.on_split(applied)
            self._leading.on_split(applied)
        for offset, record in news.log:
            self._leading.on_record(offset, record)
            if isinstance(record, RolloutEvent):
                controller.on_event(record)
            elif isinstance(record, Transition) and record.policy is not None:
                controller.policies[record.rollout] = record.policy

    def _act(self, controller: Controller) -> None:
        self._learn(controller)
        self._watch.want(controller.wanted)
        controller.looks = self._watch.looks
        is_urgent = controller.is_urgent
        # A rollback does not wait for what leading asks of Redis.
        told = None if is_urgent else self._leading.due_record(controller, self._telling.holds, now_ms())
        is_due = is_urgent or told is not None or time.monotonic() - self._written_at >= _WRITE_EVERY
        writes = controller.due_writes(now_ms()) if is_due else Writes()
        if is_due:
            self._write(controller, writes, told)
        self._carry_out(controller)
        self._telling.tell(controller, self._leading.leader.led, self._watch.now, at_once=bool(writes.events or told))

    def _write(self, controller: Controller, writes: Writes, told: Transition | Refusal | None) -> None:
        """One transaction, unless there is nothing new."""
        records = [*(letter.outgoing for letter in self._unreadable), *self._records(writes)]
        if told is not None:
            records.append(self._logged(told))
        moved = controller.next_offset > controller.position
        if moved:
            records += self._snapshots.due(controller.fold, controller.next_offset, in_a_hurry=bool(writes.events))
        if not records and not moved:
            return
        self._log.write(records, controller.next_offset, controller.replay_from, controller.held)
        controller.position, self._written_at = controller.next_offset, time.monotonic()
        self._snapshots.on_committed()
        for letter in self._unreadable:
            letter.on_committed()
        self._unreadable.clear()
        if told is not None:
            self._leading.on_written(told)
        for event in writes.verdicts:
            _log.info("verdict", rollout=event.rollout, metric=event.metric, verdict=event.verdict, role=event.role)
        for event in writes.events:
            controller.on_event(event)
            self._rolled_back.add(event.rollout)
            ROLLBACKS.labels(self._route.name).inc()
            _log.warning("rollback", rollout=event.rollout, reason=event.reason)

    def _begun(self) -> Controller:
        """As of the newest snapshot that serves, else as of nothing: what came since is replayed."""
        log = self._log
        begun = self._snapshots.begin(log.low, log.position, self._policy, self._partitions)
        fold, offset = begun or (EvidenceFold(self._policy, self._partitions), log.replay_from)
        _log.info("the controller reads on", offset=offset, position=log.position, from_snapshot=begun is not None)
        return Controller(
            policy=self._policy,
            fold=fold,
            position=log.position,
            missing_before=log.low if begun is None and log.asked < log.low else None,
            held=log.held,
            next_offset=offset,
        )

    def _tell_progress(self, controller: Controller) -> None:
        """What is shown until all was read that R.evidence held at the election."""
        self._learn(controller)
        read, records = self._log.progress
        percent = round(100 * read / max(1, records))
        _log.info("the controller catches up", read=read, records=records, percent=percent)
        remark = f"catching up: {read:,} of {records:,} records of evidence read ({percent} %)"
        self._telling.show(controller.status(self._watch.now, self._leading.leader.led, remark=remark))
        self._telling.behind(records - read)
        self._told_at = time.monotonic()

    def _read(self, controller: Controller, records: Sequence[Record]) -> None:
        # Of what was written long ago the broker's time of now cannot be told.
        is_live, self._is_live = self._is_live, self._log.caught_up
        for record in records:
            offset = record.offset()
            try:
                evidence = evidence_of(record)
                controller.on_evidence(offset, evidence)
            except DecodeError as error:
                if offset >= controller.position:
                    unreadable = Unreadable.of(record, readable_headers(record))
                    self._unreadable.append(self._dead_letters.letter(unreadable, error))
                controller.next_offset = offset + 1
            else:
                if is_live:
                    self._watch.on_appended(evidence.appended_at)
                if offset >= controller.position:
                    self._dead_letters.on_record(offset)

    def _records(self, writes: Writes) -> Iterator[Outgoing]:
        """Each of these topics has one partition, so that their records have one order."""
        for window in writes.windows:
            key = "/".join(map(str, window.key)).encode()
            yield Outgoing(self._route.topic("windowed-accuracy"), encode_windowed_accuracy(window), key, 0)
        for control_record in writes.controls:
            if isinstance(control_record, EpochInForce):
                evidence = Evidence(by=self._who, written_at=now_ms(), epoch_in_force=control_record)
            else:
                evidence = Evidence(by=self._who, written_at=now_ms(), rollout_started=control_record)
            yield Outgoing(self._route.topic("evidence"), encode_evidence(evidence), None, 0)
        if writes.silences:
            evidence = Evidence(by=self._who, written_at=now_ms(), silences=writes.silences)
            yield Outgoing(self._route.topic("evidence"), encode_evidence(evidence), None, 0)
        yield from map(self._logged, (*writes.verdicts, *writes.events))

    def _logged(self, record: RolloutEvent | Transition | Refusal) -> Outgoing:
        key = str(record.rollout).encode()
        return Outgoing(self._route.topic("rollout-events"), encode_log_record(record), key, 0)

    def _carry_out(self, controller: Controller) -> None:
        """Bring a rollback to Redis, again and again until it is applied."""
        if not controller.must_carry_out:
            return
        view, now, who = controller.view, now_ms(), f"controller {self._who}"
        try:
            reply = call_until_read(self._store, view, now=now, who=who)
        except UnreachableError as error:
            _log.warning("the rollback is in Kafka, Redis does not take it yet", error=str(error))
            return
        if isinstance(reply, AppliedSplit):
            controller.carried_out = view.latch or 0
            # Each term brings the latest rollback once more; what a predecessor or a router did long ago is no news.
            is_news = view.latch in self._rolled_back or (reply.who, reply.time) == (who, now)
            if is_news and reply.rollout <= controller.carried_out:
                _log.info("rollback carried out", rollout=view.latch, epoch=reply.epoch, canary=reply.canary)
