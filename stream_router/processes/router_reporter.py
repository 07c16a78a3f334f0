"""A thread that tells Redis by which split its router routes; routing never waits for it."""

import threading
from collections.abc import Callable
from typing import Final

import structlog

from stream_router.adapters.clock import now_ms
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.router_status import RouterStatus, RouterStore
from stream_router.errors import UnreachableError

_LOOK_EVERY: Final = 0.1
"""Seconds between two looks at the split in force, which is told at once where it has changed."""

TELL_EVERY: Final = 2_000
"""Milliseconds between two words about the same split."""

_END_WITHIN: Final = 1.0
"""Seconds for the last word."""

_log = structlog.get_logger()


class RouterReporter:
    """`in_force` is the split that the router routes by."""

    def __init__(
        self,
        routers: RouterStore,
        instance: str,
        in_force: Callable[[], AppliedSplit],
        *,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._routers, self._instance, self._in_force, self._clock = routers, instance, in_force, clock
        self._told: RouterStatus | None = None
        self._is_away = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="router-reporter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """The router has ended: nobody need wait for its entry to grow old."""
        self._end.set()
        self._thread.join(_END_WITHIN)
        if self._thread.is_alive() or self._is_away:
            return
        try:
            self._routers.leave(self._instance)
        except UnreachableError as error:
            _log.debug("Redis was not told that the router ends", error=str(error))

    def turn(self) -> None:
        """Tell once, where there is something to tell; an outage of Redis is said by who follows the split."""
        applied, told, now = self._in_force(), self._told, self._clock()
        split = applied.epoch, applied.digest
        if told is not None and (told.epoch, told.digest) == split and now - told.seen < TELL_EVERY:
            return
        status = RouterStatus(instance=self._instance, epoch=applied.epoch, digest=applied.digest, seen=now)
        try:
            self._routers.tell(status)
        except UnreachableError:
            self._is_away = True
        else:
            self._is_away = False
        self._told = status

    def _run(self) -> None:
        while not self._end.wait(_LOOK_EVERY):
            self.turn()
