"""Keeps a router's split true: reads R.splits and R.rollout-events, calls the script, obeys rollbacks without Redis."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from stream_router.adapters.clock import now_ms
from stream_router.adapters.kafka.clients import TIMEOUT
from stream_router.adapters.kafka.control_topics import ControlTopics, News
from stream_router.adapters.redis.tracking import SplitTracking
from stream_router.core.rollout.rollout_event import ROLLBACK
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.routing_state import SCRIPT_DEADLINE_MS, RoutingState
from stream_router.core.routing.split_store import Refusal, SplitStore, call_until_read
from stream_router.errors import StreamRouterError, UnreachableError
from stream_router.processes.worker import HUNG, Worker

POLL: Final = 0.2
"""Seconds between two calls of the script while Redis tells no changes, or does not answer."""

NET: Final = 1.0
"""Seconds between two calls while it tells them."""

_FOLLOW: Final = 0.5
"""Seconds that a look at the control topics waits for a record; one that comes ends it."""

_PARTING: Final = 1.0
"""Seconds that a stop waits for the script: what it would answer counts for nothing any more."""

_SHOWN: Final = 200
"""Bytes of a refused document that stand in the log."""

_log = structlog.get_logger()


class SplitWatcher:
    """Threads beside the routing loop: one follows the control topics, one hears of changes in Redis, and one, woken by
    either, calls the script.

    None waits for another's server, and the routing loop, which calls `check` and `in_force` in every turn, waits for
    none: whatever hangs, a rollback that was read is obeyed in time. What threads share of the state is touched under
    the lock only, which nobody holds while waiting for a server.
    """

    def __init__(
        self,
        topics: ControlTopics,
        store: SplitStore,
        tracking: SplitTracking,
        state: RoutingState,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._topics, self._store, self._tracking = topics, store, tracking
        self._state, self._clock = state, clock
        self._lock = threading.Lock()
        self._stop, self._wake, self._has_asked = threading.Event(), threading.Event(), threading.Event()
        self._has_read, self._redis_answers = False, True
        self._has_answered = threading.Event()
        self._refused: tuple[str, bytes] | None = None
        self._has_looked = False
        self._follower = Worker("control-topics", lambda: not self._stop.is_set(), self._follow)
        self._tracker = Worker("split-tracking", lambda: not self._stop.is_set(), self._track)
        self._asker = Worker("split-script", self._awaits_turn, self._ask)

    def start(self) -> None:
        """Returns when the first split is known: from Redis or, where that does not answer, from the topics alone.

        Raises UnreachableError and TopicError where the topics cannot be read.
        """
        self._take(self._topics.read_to_ends())
        self._has_read = True
        self._wake.set()
        for worker in (self._follower, self._tracker, self._asker):
            worker.start()
        self._has_asked.wait(SCRIPT_DEADLINE_MS / 1000)
        self.check()
        with self._lock:
            self._state.start_alone(self._clock())  # where the script gave none: R.splits may have one

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()
        self._asker.ended(_PARTING)
        if self._tracker.ended(_PARTING):
            self._tracking.close()
        if self._follower.ended(TIMEOUT):
            self._topics.close()

    def check(self) -> None:
        """Raises what a thread ended with, and UnreachableError where no rollback would be heard of any more."""
        for worker in (self._follower, self._tracker, self._asker):
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
        """Whether the topics were read to their ends, a split is known, and the threads that these need are at work."""
        is_known = self._state.last_success is not None or self._state.view.latest is not None
        is_broken = any(worker.hangs or worker.failure for worker in (self._follower, self._asker))
        return self._has_read and is_known and not is_broken

    def _follow(self) -> None:
        were_read = self._topics.at_ends
        try:
            self._take(self._topics.read(_FOLLOW))
        except StreamRouterError as error:
            if not error.restart_mends:
                raise
            _log.warning("the control topics cannot be read, trying again", error=str(error))
            self._stop.wait(POLL)
        if self._topics.at_ends and not were_read:
            self._wake.set()

    def _take(self, news: News) -> None:
        """The script is called at once for what the answer in force does not know of."""
        for event in news.events:
            if event.kind != ROLLBACK:
                continue
            with self._lock:
                self._state.on_rollback(event.rollout, event.reason, self._clock())
            self._wake.set()
            if self._has_read:  # what the topic held at the start is history
                _log.warning("rollback", rollout=event.rollout, reason=event.reason)
        for applied in news.splits:
            with self._lock:
                self._state.on_split(applied)
                is_news = applied.epoch > self._state.in_force.epoch
            if is_news:
                self._wake.set()

    def _track(self) -> None:
        worked, redis_answers = self._tracking.works, self._has_answered.is_set()
        self._has_answered.clear()
        try:
            has_changed = self._tracking.wait(redis_answers=redis_answers)
        except UnreachableError:  # said by who calls the script or, where only this fails, by the tracking
            has_changed = False
        if has_changed or self._tracking.works != worked:
            self._wake.set()
        if not self._tracking.works:
            self._stop.wait(self._tracking.pause)

    def _awaits_turn(self) -> bool:
        """Wakes that come together are one; one that comes during a call counts for the next."""
        self._wake.wait(NET if self._tracking.works and self._redis_answers else POLL)
        self._wake.clear()
        return not self._stop.is_set()

    def _ask(self) -> None:
        """One call of the script, unless the topics have not been read to their ends."""
        if not self._topics.at_ends:
            return
        try:
            self._adopt_answer()
        finally:
            self._has_asked.set()

    def _adopt_answer(self) -> None:
        with self._lock:
            view = replace(self._state.view)
        now, rejected = self._clock(), list[Refusal | None]()
        try:
            reply = call_until_read(self._store, view, now=now, who=self._state.who, on_rejected=rejected.append)
        except UnreachableError as error:
            self._redis_is_away(str(error))
            return
        if not self._redis_answers:
            _log.info("Redis answers again")
        self._redis_answers = True
        self._has_answered.set()
        if not isinstance(reply, AppliedSplit):
            return
        with self._lock:
            has_changed = self._state.on_applied(reply, self._clock())
        if has_changed:
            _log.info("split in force", epoch=reply.epoch, canary=reply.canary, rollout=reply.rollout, why=reply.why)
        for refusal in rejected:
            self._say_refusal(refusal, now)

    def _say_refusal(self, refusal: Refusal | None, now: int) -> None:
        """Each document once. What `:rejected` held at the start is history, unless the call at `now` wrote it."""
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
