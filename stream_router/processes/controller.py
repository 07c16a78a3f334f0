"""The controller: reads R.evidence, publishes windows, writes rollbacks to Kafka first and then to Redis."""

import threading
import time
from collections.abc import Iterator
from typing import Final

import structlog

from stream_router.adapters.controller_log import ControllerLog, Entry
from stream_router.adapters.kafka import partition_count
from stream_router.adapters.metrics import EVIDENCE, ROLLBACKS
from stream_router.adapters.records import (
    decode_evidence,
    encode_evidence,
    encode_rollout_event,
    encode_windowed_accuracy,
)
from stream_router.adapters.redis import RedisLaw
from stream_router.core.dead_letter import dead_letter_headers
from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.joining.evidence import EpochInForce, Evidence
from stream_router.core.rollout.controller import Answer, Controller
from stream_router.core.route import Route
from stream_router.core.routing.law import Law
from stream_router.core.routing.law_store import LawStore, ReadAgain
from stream_router.errors import DecodeError, StreamRouterError, UnreachableError
from stream_router.processes.law_reader import LawReader
from stream_router.settings import Settings

_PAUSE: Final = 0.1
"""Seconds to wait for evidence before the other topics are looked at."""
_COMMIT_EVERY: Final = 1.0
"""Seconds after which a position is committed although nothing follows from the records."""

_log = structlog.get_logger()


def control(settings: Settings, route: Route, who: str, stop: threading.Event) -> None:
    """Be the route's controller whenever its group says so, until `stop` is set.

    Raises TopicError where a topic is missing. What else fails ends one term of office, and the next begins anew
    from what Kafka holds.
    """
    partitions = partition_count(settings, route.topic("predictions"))
    store = RedisLaw(route, settings)
    try:
        while not stop.is_set():
            term = _Term(settings, route, store, who, partitions)
            try:
                term.serve(stop)
            except StreamRouterError as error:
                _log.warning("the controller begins anew", error=str(error))
                stop.wait(1.0)
            finally:
                term.close()
    finally:
        store.close()


class _Term:
    """One membership in the controller's group; ends with an error or with the group's decision for another."""

    def __init__(self, settings: Settings, route: Route, store: LawStore, who: str, partitions: int) -> None:
        self._route, self._store, self._who = route, store, who
        self._policy, self._partitions = settings.policy.frozen(), partitions
        self._log, self._reader = ControllerLog(settings, route), LawReader(settings, route)
        self._summary: dict[str, str] = {}
        self._unreadable: list[Entry] = []
        self._committed_at = time.monotonic()

    def close(self) -> None:
        self._log.close()
        self._reader.close()

    def serve(self, stop: threading.Event) -> None:
        records: list[tuple[int, bytes | None]] = []
        while not stop.is_set() and not self._log.leads:
            records = self._log.read(_PAUSE)
        if stop.is_set():
            return
        controller, term = self._controller(), self._log.term
        while not stop.is_set() and self._log.leads and self._log.term == term:
            self._read(controller, records)
            # Not only where nothing more is on its way: under load evidence never stops coming.
            if self._log.caught_up:
                self._act(controller)
            records = self._log.read(_PAUSE)

    def _act(self, controller: Controller) -> None:
        for law in self._reader.new_laws():
            controller.on_law(law)
        for event in self._reader.new_events():
            controller.on_event(event)
        answer = controller.answer(_clock())
        entries = [*self._unreadable, *self._entries(answer)]
        moved = controller.next_offset > controller.position
        if entries or (moved and time.monotonic() - self._committed_at >= _COMMIT_EVERY):
            self._log.write(entries, controller.next_offset, controller.replay_from, controller.held)
            controller.position, self._committed_at = controller.next_offset, time.monotonic()
            self._unreadable.clear()
            for event in answer.events:
                controller.on_event(event)
                ROLLBACKS.inc()
                _log.warning("rollback", rollout=event.rollout, reason=event.reason)
        self._enforce(controller)
        self._show(controller)

    def _controller(self) -> Controller:
        if self._log.overran:
            _log.error("R.evidence no longer holds the beginning of the running rollout: it is held, not judged")
        return Controller(
            policy=self._policy,
            fold=EvidenceFold(self._policy, self._partitions),
            position=self._log.position,
            overran=self._log.overran,
            held=self._log.held,
            next_offset=self._log.replay_from,
        )

    def _read(self, controller: Controller, records: list[tuple[int, bytes | None]]) -> None:
        for offset, value in records:
            try:
                controller.on_evidence(offset, decode_evidence(value))
            except DecodeError as error:
                if offset >= controller.position:
                    self._unreadable.append(self._dead_letter(offset, value, error))
                controller.next_offset = offset + 1

    def _dead_letter(self, offset: int, value: bytes | None, error: DecodeError) -> Entry:
        headers = dead_letter_headers(
            topic=self._route.topic("evidence"), partition=0, offset=offset, stage="monitor", error=error
        )
        return Entry(self._route.topic("dead-letters"), None, value or b"", [*headers])

    def _entries(self, answer: Answer) -> Iterator[Entry]:
        for window in answer.windows:
            key = f"{window.window_start}/{window.rollout}/{window.lane}/{window.model_version}".encode()
            yield Entry(self._route.topic("windowed-accuracy"), key, encode_windowed_accuracy(window))
        for record in answer.controls:
            if isinstance(record, EpochInForce):
                evidence = Evidence(by=self._who, written_at=_clock(), epoch_in_force=record)
            else:
                evidence = Evidence(by=self._who, written_at=_clock(), rollout_started=record)
            yield Entry(self._route.topic("evidence"), None, encode_evidence(evidence))
        for event in answer.events:
            key = str(event.rollout).encode()
            yield Entry(self._route.topic("rollout-events"), key, encode_rollout_event(event))

    def _enforce(self, controller: Controller) -> None:
        """Bring a rollback to Redis, again and again until it is applied."""
        if not controller.must_enforce:
            return
        knowledge = controller.knowledge
        try:
            reply = self._store.call(knowledge, self._store.look(), now=_clock(), who=f"controller {self._who}")
            if isinstance(reply, ReadAgain):
                reply = self._store.call(knowledge, self._store.look(), now=_clock(), who=f"controller {self._who}")
        except UnreachableError as error:
            _log.warning("the rollback is in Kafka, Redis does not take it yet", error=str(error))
            return
        if isinstance(reply, Law):
            controller.enforced = knowledge.latch or 0
            _log.info("rollback carried out", rollout=knowledge.latch, epoch=reply.epoch, canary=reply.canary)

    def _show(self, controller: Controller) -> None:
        """Write the summary into Redis where it changed; it is for display, so an absent Redis costs nothing."""
        law, summary = controller.law, controller.fold.summary(controller.law.rollout)
        fields = {
            "phase": controller.phase,
            "rollout": str(law.rollout),
            "epoch": str(law.epoch),
            "canary_weight": repr(law.canary),
            "window": str(self._policy.window),
            "label_horizon": str(self._policy.label_horizon),
            "alpha": repr(self._policy.alpha),
        }
        if summary is not None:
            verdict, numbers = summary.verdict, summary.verdict.numbers
            EVIDENCE.set(numbers.evidence)
            fields |= {
                "verdict": verdict.status.value,
                "metric": verdict.metric,
                "evidence": repr(numbers.evidence),
                "threshold": repr(numbers.threshold),
                "blocks": str(numbers.blocks),
                "stable_labels": str(numbers.stable_labels),
                "stable_bad": str(numbers.stable_bad),
                "canary_labels": str(numbers.canary_labels),
                "canary_bad": str(numbers.canary_bad),
                "unripe": str(summary.unripe),
                "summary": verdict.reason,
            }
        if fields != self._summary:
            try:
                self._store.write_rollout_summary(fields)
            except UnreachableError as error:
                _log.debug("the summary is not in Redis", error=str(error))
            else:
                self._summary = fields


def _clock() -> int:
    return time.time_ns() // 1_000_000
