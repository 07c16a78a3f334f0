"""Keeps a router's split true: reads R.splits and R.rollout-events, calls the script, obeys rollbacks without Redis."""

import threading
from collections.abc import Callable
from typing import Final

import structlog

from stream_router.adapters.clock import now_ms
from stream_router.adapters.kafka.clients import TIMEOUT
from stream_router.adapters.kafka.control_topics import ControlTopics
from stream_router.core.rollout.rollout_event import ROLLBACK
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.routing_state import RoutingState
from stream_router.core.routing.split_store import SplitStore, call_until_read
from stream_router.errors import StreamRouterError, UnreachableError

POLL: Final = 0.2
"""Seconds between two looks at the split."""

_log = structlog.get_logger()


class SplitWatcher:
    """A thread beside the routing loop. `failure` is set when it ended with an error."""

    def __init__(
        self, topics: ControlTopics, store: SplitStore, state: RoutingState, clock: Callable[[], int] = now_ms
    ) -> None:
        self._topics, self._store, self._state, self._clock = topics, store, state, clock
        self._redis_answers = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="split-watcher", daemon=True)
        self.failure: Exception | None = None

    def start(self) -> None:
        """Returns when the first split is known, from Redis or, where it is away, from the topics alone."""
        self._read_topics()
        self._ask_script()
        self._state.start_alone(self._clock())  # where the script gave none: R.splits may have one
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(TIMEOUT)
        if not self._thread.is_alive():
            self._topics.close()

    def look(self) -> None:
        """Read the topics, ask the script, and obey what has waited too long. Raises what no restart mends."""
        try:
            self._read_topics()
        except StreamRouterError as error:
            if not error.restart_mends:
                raise
            _log.warning("the control topics cannot be read, trying again", error=str(error))
        else:
            self._ask_script()
        self._state.on_time(self._clock())

    def _run(self) -> None:
        try:
            while not self._stop.wait(POLL):
                self.look()
        except Exception as error:  # noqa: BLE001 - the routing loop raises it, else it would route by an old split for ever
            self.failure = error

    def _read_topics(self) -> None:
        for applied in self._topics.new_splits():
            self._state.on_split(applied)
        for event in self._topics.new_events():
            if event.kind == ROLLBACK:
                _log.warning("rollback", rollout=event.rollout, reason=event.reason)
                self._state.on_rollback(event.rollout, event.reason, self._clock())

    def _ask_script(self) -> None:
        try:
            reply = call_until_read(self._store, self._state.view, now=self._clock(), who=self._state.who)
        except UnreachableError as error:
            if self._redis_answers:
                _log.warning("routing goes on with the last split in force", error=str(error))
            self._redis_answers = False
            return
        if not self._redis_answers:
            _log.info("Redis answers again")
        self._redis_answers = True
        if isinstance(reply, AppliedSplit) and self._state.on_applied(reply, self._clock()):
            _log.info("split in force", epoch=reply.epoch, canary=reply.canary, rollout=reply.rollout, why=reply.why)
