"""Does what an operator does, and watches until the rollback has come, or why it has not."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from stream_router.adapters.redis.store import RedisSplitStore
from stream_router.core.lane import CANARY, LANES, STABLE, Lane
from stream_router.core.rollout.status import RolloutStatus
from stream_router.core.route import Route
from stream_router.core.routing.split import ALL_STABLE, Split
from stream_router.demo.children import Children
from stream_router.demo.models import BAD, GOOD
from stream_router.demo.observer import Observer
from stream_router.demo.report import Result, waits_for_rollback, waits_to_begin, why_not
from stream_router.errors import RollbackExpectedError
from stream_router.settings import Settings, masked_url
from stream_router.views.terminal import Screen, Snapshot

READY_LABELS: Final = 1_000
"""Labels of stable before the canary gets its share: then its accuracy has an interval worth looking at."""

READY_SECONDS: Final = 120.0
AFTERWARDS: Final = 5.0
"""Seconds of traffic after the rollback."""

_LOOK: Final = 0.2
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`limit`: seconds from the operator's SET within which the rollback is expected."""

    route: Route
    canary_version: str = BAD
    split: bytes = b'{"stable": 0.9, "canary": 0.1}'
    limit: float = 75.0

    @property
    def versions(self) -> dict[Lane, str]:
        return {STABLE: GOOD, CANARY: self.canary_version}


class Watch:
    """Of a route whose processes run, and that gets traffic."""

    def __init__(
        self, plan: Plan, observer: Observer, store: RedisSplitStore, children: Children, screen: Screen
    ) -> None:
        self._plan, self._observer, self._store = plan, observer, store
        self._children, self._screen = children, screen
        self._ledger = observer.ledger
        self._status: RolloutStatus | None = None
        self._next: Callable[[], str | None] = self._waits_to_begin

    def run(self, client: str, begun: float) -> Result:
        """`client` is the command with which an operator reaches Redis, for display; `begun` when the demo began.

        Raises RollbackExpectedError, and StreamRouterError where a process ends by itself.
        """
        self._until(self._is_ready, READY_SECONDS, self._why_not_ready)
        self._screen.say(f"{client} SET '{self._plan.route.key('split')}' '{self._plan.split.decode()}'")
        self._store.propose(self._plan.split)
        self._next = lambda: waits_for_rollback(self._ledger, self._status)
        set_at = time.monotonic()
        self._until(lambda: self._ledger.rollback, self._plan.limit, self._why_no_rollback)
        watched = time.monotonic() - set_at
        self._screen.say(f"Rolled back; {AFTERWARDS:.0f} more seconds of traffic")
        end = time.monotonic() + AFTERWARDS
        self._until(lambda: time.monotonic() >= end, AFTERWARDS, self._why_no_rollback)
        rollback = self._until(lambda: self._ledger.rollback, 0, self._why_no_rollback)
        if count := rollback.since[CANARY]:
            raise RollbackExpectedError(f"after the rollback {count:,} requests were still routed to canary")
        return Result(
            route=self._plan.route.name,
            split=self._plan.split.decode(),
            lanes={lane: self._ledger.lane(lane) for lane in LANES},
            rollback=rollback,
            watched=watched,
            seconds=time.monotonic() - begun,
        )

    def _is_ready(self) -> bool:
        models = self._store.models()
        return None not in (models.stable, models.canary) and self._ledger.lane(STABLE).labelled >= READY_LABELS

    def _waits_to_begin(self) -> str:
        return waits_to_begin(self._ledger, self._store.models(), READY_LABELS)

    def _why_not_ready(self) -> str:
        count = self._ledger.lane(STABLE)
        return (
            f"the rollout did not begin: within {READY_SECONDS:.0f} s stable had {count.requests:,} requests and "
            f"{count.labelled:,} joined labels of the {READY_LABELS:,} that are wanted first"
        )

    def _why_no_rollback(self) -> str:
        why = why_not(self._ledger, self._status, self._store.rejected())
        return f"no rollback within {self._plan.limit:.0f} s of the SET: {why}"

    def _until(self, found: Callable[[], T | None], seconds: float, why: Callable[[], str]) -> T:
        """Watch until something true is found. Raises RollbackExpectedError, with `why()`, after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            self._observer.read(_LOOK)
            self._children.check()
            self._status = self._store.status()
            self._screen.show(self._snapshot())
            if value := found():
                return value
            if time.monotonic() > deadline:
                raise RollbackExpectedError(why())

    def _snapshot(self) -> Snapshot:
        split = self._split_in_force()
        return Snapshot(
            lanes={lane: self._ledger.lane(lane) for lane in LANES},
            shares={lane: split.weight(lane) for lane in LANES},
            versions=self._plan.versions,
            status=self._status,
            newest_request=self._ledger.newest_request,
            waits_for=self._next(),
        )

    def _split_in_force(self) -> Split:
        splits = self._ledger.splits
        return splits[max(splits)].split if splits else ALL_STABLE


def shown_url(settings: Settings) -> str:
    return masked_url(settings.redis_url.get_secret_value())
