"""A machine's clock, held against the brokers': a watermark far ahead would silence its partition for as long."""

import time
from typing import Final

import structlog

from stream_router.adapters.clock import monotonic_ms
from stream_router.adapters.health import Health
from stream_router.adapters.metrics import WATERMARKS_REFUSED
from stream_router.core.broker_time import BrokerTime

CLOCK: Final = "clock"
"""The condition of a process whose clock is not far ahead of the brokers'."""

_SAY_EVERY: Final = 60.0
"""Seconds between log lines."""

_log = structlog.get_logger()


class ClockCheck:
    """Of one process. Each flush tells the broker's time if R.evidence is LogAppendTime; elsewhere all is admitted."""

    def __init__(self, route: str, health: Health) -> None:
        self.broker_time = BrokerTime()
        self._route, self._health = route, health
        self._is_unchecked = self._was_refused = False
        self._said_at = float("-inf")

    def on_written(self, appended: int | None) -> None:
        """A flush has been written; `appended`: when, by the broker's clock, if it tells."""
        if appended is not None:
            self.broker_time.on_told(appended, monotonic_ms())
        elif not self._is_unchecked:
            self._is_unchecked = True
            _log.warning(
                "this machine's clock is not checked: R.evidence has no LogAppendTime",
                route=self._route,
            )

    def admits(self, watermark: int, *, inherited: bool = False) -> bool:
        """Whether it may be written; reports one that may not. `inherited`: it is a predecessor's."""
        excess = self.broker_time.excess(watermark, monotonic_ms())
        if not excess:
            if self._was_refused and not inherited:
                self._was_refused = False
                self._health.ready(CLOCK)
            return True
        WATERMARKS_REFUSED.labels(self._route).inc()
        if not inherited:
            self._was_refused = True
            self._health.not_ready(
                CLOCK, f"this machine's clock is {excess / 1000:.0f} s too far ahead of the brokers'"
            )
        if time.monotonic() - self._said_at >= _SAY_EVERY:
            self._said_at = time.monotonic()
            whose = "a predecessor's" if inherited else "this machine's"
            _log.error(f"a watermark is refused: {whose} clock is too far ahead of the brokers'", seconds=excess / 1000)
        return False
