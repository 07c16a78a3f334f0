"""Looks at the lanes, in a thread beside the controller, which must not wait for the answers."""

import threading
import time
from collections.abc import Mapping
from typing import Final, Protocol

import structlog

from stream_router.adapters.clock import monotonic_ms, now_ms
from stream_router.adapters.detached import detached
from stream_router.adapters.kafka.lanes import Lanes
from stream_router.core.broker_time import BrokerTime
from stream_router.core.lane import Lane
from stream_router.core.rollout.lane_look import LaneLook, Wanted
from stream_router.core.route import Route
from stream_router.errors import StreamRouterError
from stream_router.settings import Settings

_EVERY: Final = 2.0
"""Seconds between looks; half the prediction deadline where that is shorter."""

_LEAST: Final = 0.2
"""Seconds between looks at least."""

_FRESH: Final = 10.0
"""Seconds after which a look says nothing any more."""

_log = structlog.get_logger()


class Looking(Protocol):
    """What looks at a lane, see Lanes."""

    def look(self, lane: Lane, wanted: Wanted, now: int, /) -> LaneLook: ...


class LaneWatch:
    """What the controller wants to be looked at, and what was found: `want` and `looks` never wait."""

    def __init__(self, lanes: Looking) -> None:
        self._lanes = lanes
        self._wanted: Wanted | None = None
        self._looks: dict[Lane, tuple[float, LaneLook]] = {}
        self._broker_time = BrokerTime()
        self._fails = False

    @classmethod
    def begun(cls, settings: Settings, route: Route, stop: threading.Event) -> "LaneWatch":
        """One that looks until `stop` is set, and ends with the process."""
        watch = cls(Lanes(settings, route))
        detached(lambda: watch.run(stop), name="lane watch")
        return watch

    def on_appended(self, time_ms: int | None) -> None:
        """A record that the broker appended at that time has just been read; None where the topic does not tell."""
        if time_ms is not None:
            self._broker_time.on_told(time_ms, monotonic_ms())

    @property
    def now(self) -> int:
        """The broker's clock as far as it is known, else the machine's; milliseconds since the epoch."""
        told = self._broker_time.at(monotonic_ms())
        return now_ms() if told is None else told

    def want(self, wanted: Wanted | None) -> None:
        self._wanted = wanted

    @property
    def looks(self) -> Mapping[Lane, LaneLook]:
        """The newest by lane, of what is wanted now; without those that are too old to say anything."""
        wanted, now = self._wanted, time.monotonic()
        return {
            lane: look
            for lane, (at, look) in list(self._looks.items())
            if wanted is not None and look.rollout == wanted.rollout and now - at <= _FRESH
        }

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            wanted = self._wanted
            self.look()
            stop.wait(_EVERY if wanted is None else max(_LEAST, min(_EVERY, wanted.deadline / 2000)))

    def look(self) -> None:
        """Once at each lane that is wanted. What fails says nothing of the lane, and is tried again."""
        wanted = self._wanted
        if wanted is None:
            self._looks.clear()
            return
        try:
            for lane in wanted.lanes:
                look = self._lanes.look(lane, wanted, self.now)
                self._looks[lane] = time.monotonic(), look  # of when it came: one that took long is still the newest
        except Exception as error:  # noqa: BLE001 - whatever it is, the watch must not end unseen
            if not self._fails:
                unforeseen = not isinstance(error, StreamRouterError)
                _log.warning("the lanes cannot be looked at, trying again", error=str(error), exc_info=unforeseen)
            self._fails = True
        else:
            self._fails = False
