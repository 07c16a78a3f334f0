"""What a controller's term tells people: the status in Redis, log lines and metrics."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import structlog

from stream_router.adapters.metrics import (
    E_VALUE,
    EVIDENCE_BEHIND,
    EVIDENCE_WATERMARKS_REFUSED,
    HELD,
    HOLDS,
    LANE_BEHIND,
    OUTCOMES_LEFT_OUT,
    Served,
)
from stream_router.core.rollout.controller import Controller
from stream_router.core.rollout.situation import REASONS, Hold, HoldReason
from stream_router.core.rollout.status import Led, RolloutStatus, StatusStore
from stream_router.core.route import Route
from stream_router.errors import UnreachableError

_EVERY: Final = 1.0
"""Seconds between two looks at what is to be told; a rollback is told at once."""

_SHOW_AGAIN: Final = 5.0
"""Seconds after which a status is written that has not changed: when it was written tells that a controller lives."""

_log = structlog.get_logger()


class Telling:
    """Of one term."""

    def __init__(self, route: Route, store: StatusStore) -> None:
        self._route, self._store = route, store
        self._told_at = self._shown_at = float("-inf")
        self._shown: RolloutStatus | None = None
        self.holds: tuple[Hold, ...] = ()
        """As they were told last."""
        self._held = Counter[HoldReason]()
        self._refused_watermarks, self._said_held = 0, False
        self._served = Served()

    def close(self) -> None:
        """Another controller may go on: the metrics are its own then."""
        self._served.close()

    def tell(self, controller: Controller, led: Led, now: int, *, at_once: bool) -> None:
        """`now` in milliseconds since the epoch, by the broker's clock where that is known."""
        if not at_once and time.monotonic() - self._told_at < _EVERY:
            return
        self._told_at, self.holds = time.monotonic(), controller.holds(now)
        self._say(self.holds)
        self._measure(controller, self.holds)
        self.show(controller.status(now, led, self.holds))

    def behind(self, records: int) -> None:
        """So many records of R.evidence are to be read before the controller acts."""
        self._served.serve(EVIDENCE_BEHIND, {(self._route.name,): records})

    def _measure(self, controller: Controller, holds: Sequence[Hold]) -> None:
        name, summary, serve = self._route.name, controller.summary, self._served.serve
        held = {hold.reason for hold in holds}
        refused = controller.fold.refused_watermarks
        numbers = {} if summary is None else {verdict.metric: verdict.numbers for verdict in summary.verdicts}
        left_out = {} if summary is None else summary.left_out
        self.behind(0)
        serve(HELD, {(name,): controller.is_held})
        serve(HOLDS, {(name, reason): reason in held for reason in REASONS})
        serve(EVIDENCE_WATERMARKS_REFUSED, {(name,): refused})
        serve(LANE_BEHIND, {(name, lane): look.behind for lane, look in controller.looks.items()})
        serve(E_VALUE, {(name, metric): found.e_value for metric, found in numbers.items() if found is not None})
        serve(OUTCOMES_LEFT_OUT, {(name, reason): outcomes for reason, outcomes in left_out.items()})
        if controller.is_held and not self._said_held:
            self._said_held = True
            _log.error(
                "R.evidence no longer holds the beginning of the running rollout: it is held, not judged",
                rollout=controller.in_force.rollout,
            )
        if refused > self._refused_watermarks:
            _log.error(
                "watermarks of a monitor whose clock is ahead of the broker's are left out: set its clock",
                watermarks=refused - self._refused_watermarks,
            )
        self._refused_watermarks = refused

    def _say(self, holds: Sequence[Hold]) -> None:
        """Each reason once, where it begins and where it ends."""
        held = Counter(hold.reason for hold in holds)
        for reason in REASONS:
            if held[reason] > self._held[reason]:
                why = "; ".join(hold.sentence for hold in holds if hold.reason == reason)
                _log.warning("the rollout is held", reason=reason, why=why)
            elif self._held[reason] and not held[reason]:
                _log.info("the rollout is held no more", reason=reason)
        self._held = held

    def show(self, status: RolloutStatus) -> None:
        """Write the status into Redis where it changed, and now and then; it is for display, so an absent Redis costs
        nothing.
        """
        said = replace(status, written_at=None)
        if said == self._shown and time.monotonic() - self._shown_at < _SHOW_AGAIN:
            return
        try:
            self._store.write_status(status)
        except UnreachableError as error:
            _log.debug("the status is not in Redis", error=str(error))
        else:
            self._shown, self._shown_at = said, time.monotonic()
