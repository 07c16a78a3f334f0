"""The demo from beginning to end: starts what a deployment has, does what an operator does, watches what happens."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from stream_router.adapters import topics
from stream_router.adapters.redis import RedisLaw
from stream_router.core.lane import CANARY, LANES, STABLE, Lane
from stream_router.core.route import Route
from stream_router.core.split import ALL_STABLE, Split, parse_split
from stream_router.demo.children import Children
from stream_router.demo.interrupts import Interrupts
from stream_router.demo.models import BAD, GOOD, coefficients
from stream_router.demo.observer import Observer
from stream_router.demo.pace import accelerated_policy
from stream_router.demo.report import Result, why_not
from stream_router.demo.screen import Picture, Screen
from stream_router.demo.servers import Servers
from stream_router.errors import RollbackExpectedError, SettingError, UnreachableError
from stream_router.settings import Settings, masked_url

PARTITIONS: Final = 4
READY_LABELS: Final = 1_000
"""Labels of stable before the canary gets its share: then its accuracy has an interval worth looking at."""

READY_SECONDS: Final = 60.0
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


OpenServers = Callable[[ExitStack], Servers]
"""Gives servers that answer; what it starts is stopped by the stack of clean-ups."""


def run_demo(plan: Plan, open_servers: OpenServers, folder: Path, screen: Screen, interrupts: Interrupts) -> Result:
    """The whole demo; logs and data are in `folder`. Everything it started has ended when it returns or raises.

    Raises RollbackExpectedError where the rollback does not come, another StreamRouterError where a process ends by
    itself or servers do not start, Interrupted after a signal.
    """
    begun = time.monotonic()
    with ExitStack() as cleanup, interrupts.raising():
        coefficients()  # trained once a machine: by us, or both scoring jobs would do it at the same time
        screen.say(f"The models are trained: {plan.versions[STABLE]} for stable, {plan.versions[CANARY]} for canary")
        servers = open_servers(cleanup)
        screen.say(f"Kafka {servers.settings.bootstrap_servers} and Redis {_shown_url(servers.settings)} answer")
        children = Children(folder, servers.cwd, servers.environment | accelerated_policy(), interrupts)
        cleanup.callback(children.stop)
        demo = Demo(plan, servers.settings, children, screen)
        demo.begin()
        observer = Observer(servers.settings, plan.route)
        cleanup.callback(observer.close)
        return demo.watch(observer, begun)


class Demo:
    """One run on servers that answer."""

    def __init__(self, plan: Plan, settings: Settings, children: Children, screen: Screen) -> None:
        self._plan, self._settings, self._children, self._screen = plan, settings, children, screen
        self._store = RedisLaw(plan.route, settings)
        self._evidence: Mapping[str, str] = {}

    def begin(self) -> None:
        self._apply_topics()
        self._start()

    def watch(self, observer: Observer, begun: float) -> Result:
        self._observer = observer
        ledger = observer.ledger
        self._until(self._is_ready, READY_SECONDS, self._why_not_ready)
        self._set_split()
        set_at = time.monotonic()
        rollback = self._until(lambda: ledger.rollback, self._plan.limit, self._why_no_rollback)
        watched = time.monotonic() - set_at
        self._screen.say(f"Rolled back; {AFTERWARDS:.0f} more seconds of traffic")
        deadline = time.monotonic() + AFTERWARDS
        self._until(lambda: time.monotonic() > deadline, AFTERWARDS * 4, lambda: "the traffic ended")
        final = ledger.rollback or rollback
        if final.since[CANARY]:
            raise RollbackExpectedError(
                f"after the rollback {final.since[CANARY]} requests were still routed to canary"
            )
        return Result(
            route=self._plan.route.name,
            split=self._plan.split.decode(),
            lanes={lane: ledger.lane(lane) for lane in LANES},
            rollback=final,
            watched=watched,
            seconds=time.monotonic() - begun,
        )

    def _apply_topics(self) -> None:
        route = self._plan.route
        if any(state.partitions is not None for state in topics.states(self._settings, route)):
            raise SettingError(
                f"route {route.name} has topics on these servers already: name a new route with --route, so that the "
                "demo disturbs nothing and nothing disturbs the demo"
            )
        applied = topics.apply(self._settings, route, PARTITIONS)
        self._screen.say(f"Created {len(applied)} topics of route {route.name}")

    def _start(self) -> None:
        route = self._plan.route.name
        self._children.start("route", "route", "--route", route)
        for lane in LANES:
            model = ("--model", "stream_router.demo.models:load", "--model-version", self._plan.versions[lane])
            self._children.start(
                f"score-{lane}", "score", "--route", route, "--lane", lane, *model, "--request-schema", "flight_request"
            )
        self._children.start("monitor", "monitor", "--route", route)
        self._children.start("produce", "demo", "produce", "--route", route)
        self._screen.say(f"Started {self._children.names}, each a process; all traffic goes to stable")

    def _set_split(self) -> None:
        url = _shown_url(self._settings)
        key, split = self._plan.route.key("split"), self._plan.split.decode()
        self._screen.say(f"$ redis-cli -u {url} SET '{key}' '{split}'")
        self._store.propose(self._plan.split)

    def _is_ready(self) -> bool:
        models = self._store.models()
        return (
            None not in (models.stable, models.canary) and self._observer.ledger.lane(STABLE).labelled >= READY_LABELS
        )

    def _why_not_ready(self) -> str:
        count = self._observer.ledger.lane(STABLE)
        return (
            f"the rollout did not begin: within {READY_SECONDS:.0f} s stable had {count.requests:,} requests and "
            f"{count.labelled:,} joined labels of the {READY_LABELS:,} that are wanted first"
        )

    def _why_no_rollback(self) -> str:
        why = why_not(self._observer.ledger, self._evidence, self._store.rejected())
        return f"no rollback within {self._plan.limit:.0f} s of the SET: {why}"

    def _until(self, found: Callable[[], T | None], seconds: float, why: Callable[[], str]) -> T:
        """Watch until something true is found. Raises RollbackExpectedError, with `why()`, after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            self._observer.read(_LOOK)
            self._children.check()
            with suppress(UnreachableError):  # a look that fails is made again
                self._evidence = self._store.rollout_summary()
            self._screen.show(self._picture())
            if value := found():
                return value
            if time.monotonic() > deadline:
                raise RollbackExpectedError(why())

    def _picture(self) -> Picture:
        ledger = self._observer.ledger
        split = self._split_in_force()
        return Picture(
            lanes={lane: ledger.lane(lane) for lane in LANES},
            shares={lane: split.weight(lane) for lane in LANES},
            versions=self._plan.versions,
            evidence=_number(self._evidence.get("evidence")),
            threshold=_number(self._evidence.get("threshold")),
            newest_request=ledger.newest_request,
        )

    def _split_in_force(self) -> Split:
        laws = self._observer.ledger.laws
        return parse_split(laws[max(laws)].raw) if laws else ALL_STABLE


def _shown_url(settings: Settings) -> str:
    return masked_url(settings.redis_url.get_secret_value())


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
