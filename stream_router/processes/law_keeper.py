"""Keeps a router's law true: reads R.splits and R.rollout-events, calls the script, obeys rollbacks without Redis."""

import threading
import time
from typing import Final

import structlog

from stream_router.adapters.kafka import TIMEOUT
from stream_router.core.rollout.rollout_event import ROLLBACK
from stream_router.core.route import Route
from stream_router.core.routing.law import Law
from stream_router.core.routing.law_store import LawStore, ReadAgain
from stream_router.core.routing.routing_state import RoutingState
from stream_router.errors import UnreachableError
from stream_router.processes.law_reader import LawReader
from stream_router.settings import Settings

POLL: Final = 0.2
"""Seconds between two looks at the split."""

_log = structlog.get_logger()


class LawKeeper:
    """A thread beside the routing loop. `failure` is set when it ended with an error."""

    def __init__(self, settings: Settings, route: Route, store: LawStore, state: RoutingState, who: str) -> None:
        self._store, self._state, self._who = store, state, who
        self._reader = LawReader(settings, route)
        self._redis_answers = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="law-keeper", daemon=True)
        self.failure: Exception | None = None

    def start(self) -> None:
        """Returns when the first law is known, from Redis or, where it is away, from the topics alone."""
        self._read_topics()
        self._ask_script()
        self._state.start_alone(_clock())  # where the script gave no law: R.splits may have one
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(TIMEOUT)
        if not self._thread.is_alive():
            self._reader.close()

    def _run(self) -> None:
        try:
            while not self._stop.wait(POLL):
                try:
                    self._read_topics()
                except UnreachableError as error:
                    _log.warning("the law's topics cannot be read, trying again", error=str(error))
                else:
                    self._ask_script()
                self._state.on_time(_clock())
        except Exception as error:  # noqa: BLE001 - the routing loop raises it, else it would route by an old law for ever
            self.failure = error

    def _read_topics(self) -> None:
        for law in self._reader.new_laws():
            self._state.on_split(law)
        for event in self._reader.new_events():
            if event.kind == ROLLBACK:
                _log.warning("rollback", rollout=event.rollout, reason=event.reason)
                self._state.on_rollback(event.rollout, event.reason, _clock())

    def _ask_script(self) -> None:
        try:
            reply = self._store.call(self._state.knowledge, self._store.look(), now=_clock(), who=self._who)
            if isinstance(reply, ReadAgain):
                reply = self._store.call(self._state.knowledge, self._store.look(), now=_clock(), who=self._who)
        except UnreachableError as error:
            if self._redis_answers:
                _log.warning("routing goes on with the last split in force", error=str(error))
            self._redis_answers = False
            return
        if not self._redis_answers:
            _log.info("Redis answers again")
        self._redis_answers = True
        if isinstance(reply, Law) and self._state.on_law(reply, _clock()):
            _log.info("split in force", epoch=reply.epoch, canary=reply.canary, rollout=reply.rollout, why=reply.why)


def _clock() -> int:
    return time.time_ns() // 1_000_000
