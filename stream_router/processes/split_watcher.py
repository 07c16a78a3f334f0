"""Keeps a router's split true: reads R.splits and R.rollout-events, calls the script, obeys rollbacks without Redis."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from stream_router.adapters.clock import now_ms
from stream_router.adapters.kafka.clients import TIMEOUT
from stream_router.adapters.kafka.control_topics import ControlTopics
from stream_router.core.rollout.rollout_event import ROLLBACK
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.routing_state import SCRIPT_DEADLINE_MS, RoutingState
from stream_router.core.routing.split_store import SplitStore, call_until_read
from stream_router.errors import StreamRouterError, UnreachableError
from stream_router.processes.worker import HUNG, Worker

POLL: Final = 0.2
"""Seconds between two looks at the control topics, each of which is followed by a call of the script."""

_PARTING: Final = 1.0
"""Seconds that a stop waits for the script: what it would answer counts for nothing any more."""

_SHOWN: Final = 200
"""Bytes of a refused document that stand in the log."""

_log = structlog.get_logger()


class SplitWatcher:
    """Two threads beside the routing loop: one follows the control topics, the other asks Redis through the script.

    Neither waits for the other's server, and the routing loop, which calls `check` and `in_force` in every turn, waits
    for none: whatever hangs, a rollback that was read is obeyed in time. The state is touched under the lock only,
    which nobody holds while waiting for a server.
    """

    def __init__(
        self, topics: ControlTopics, store: SplitStore, state: RoutingState, clock: Callable[[], int] = now_ms
    ) -> None:
        self._topics, self._store, self._state, self._clock = topics, store, state, clock
        self._lock = threading.Lock()
        self._stop, self._may_ask, self._has_asked = threading.Event(), threading.Event(), threading.Event()
        self._has_read, self._redis_answers = False, True
        self._refused: tuple[str, bytes] | None = None
        self._has_looked = False
        self._follower = Worker("control-topics", lambda: not self._stop.wait(POLL), self._follow)
        self._asker = Worker("split-script", lambda: self._may_ask.wait() and not self._stop.is_set(), self._ask)

    def start(self) -> None:
        """Returns when the first split is known: from Redis or, where that does not answer, from the topics alone.

        Raises UnreachableError and TopicError where the topics cannot be read.
        """
        self._read_topics()
        self._follower.start()
        self._asker.start()
        self._has_asked.wait(SCRIPT_DEADLINE_MS / 1000)
        self.check()
        with self._lock:
            self._state.start_alone(self._clock())  # where the script gave none: R.splits may have one

    def stop(self) -> None:
        self._stop.set()
        self._may_ask.set()
        self._asker.ended(_PARTING)
        if self._follower.ended(TIMEOUT):
            self._topics.close()

    def check(self) -> None:
        """Raises what a thread ended with, and UnreachableError where no rollback would be heard of any more."""
        for worker in (self._follower, self._asker):
            if worker.failure is not None:
                raise worker.failure
        if self._follower.hangs:
            raise UnreachableError(
                f"reading R.splits and R.rollout-events has not come back for {HUNG:.0f} s, and no rollback would be "
                "heard of: start the router again"
            )
        if self._asker.hangs:
            self._redis_is_away(f"a call has not come back for {HUNG:.0f} s: look at the timeouts in settings redis")

    def in_force(self) -> AppliedSplit:
        """The split to route by now."""
        with self._lock:
            has_declared = self._state.on_time(self._clock())
            applied = self._state.in_force
        if has_declared:
            _log.warning("everything goes to stable without Redis", epoch=applied.epoch, why=applied.why)
        return applied

    @property
    def ready(self) -> bool:
        """Whether the topics were read to their ends, a split is known, and both threads are at work."""
        is_known = self._state.last_success is not None or self._state.view.latest is not None
        is_broken = any(worker.hangs or worker.failure for worker in (self._follower, self._asker))
        return self._has_read and is_known and not is_broken

    def _follow(self) -> None:
        try:
            self._read_topics()
        except StreamRouterError as error:
            if not error.restart_mends:
                raise
            _log.warning("the control topics cannot be read, trying again", error=str(error))

    def _read_topics(self) -> None:
        """Rollbacks first, so that an R.splits that does not answer holds up none that has been read."""
        self._follower.beat()
        for event in self._topics.new_events():
            self._follower.beat()
            if event.kind != ROLLBACK:
                continue
            with self._lock:
                self._state.on_rollback(event.rollout, event.reason, self._clock())
            if self._has_read:  # what the topic held at the start is history
                _log.warning("rollback", rollout=event.rollout, reason=event.reason)
        self._follower.beat()
        for applied in self._topics.new_splits():
            self._follower.beat()
            with self._lock:
                self._state.on_split(applied)
        self._has_read = True
        self._may_ask.set()

    def _ask(self) -> None:
        """One call of the script, with the topics as they were last read to their ends."""
        self._may_ask.clear()
        try:
            self._adopt_answer()
        finally:
            self._has_asked.set()

    def _adopt_answer(self) -> None:
        with self._lock:
            view = replace(self._state.view)
        now = self._clock()
        try:
            reply = call_until_read(self._store, view, now=now, who=self._state.who)
        except UnreachableError as error:
            self._redis_is_away(str(error))
            return
        if not self._redis_answers:
            _log.info("Redis answers again")
        self._redis_answers = True
        if not isinstance(reply, AppliedSplit):
            return
        with self._lock:
            has_changed = self._state.on_applied(reply, self._clock())
        if has_changed:
            _log.info("split in force", epoch=reply.epoch, canary=reply.canary, rollout=reply.rollout, why=reply.why)
        self._say_refusals(now)

    def _say_refusals(self, now: int) -> None:
        """Each document once. What `:rejected` held at the start is history, unless that call at `now` wrote it."""
        try:
            refusal = self._store.rejected()
        except UnreachableError:  # looked at again after the next call
            return
        refused = None if refusal is None else (refusal.type, refusal.raw)
        is_news = refusal is not None and (refusal.time == now or (self._has_looked and refused != self._refused))
        if refusal is not None and is_news:
            value = refusal.raw[:_SHOWN].decode(errors="backslashreplace")
            _log.warning("split refused", value=value, type=refusal.type, why=refusal.why)
        self._refused, self._has_looked = refused, True

    def _redis_is_away(self, error: str) -> None:
        if self._redis_answers:
            _log.warning("routing goes on with the last split in force", error=error)
        self._redis_answers = False
