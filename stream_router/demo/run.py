"""The demo from beginning to end: starts what a deployment has, then watches what an operator's SET brings about."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from stream_router.adapters.kafka import topics
from stream_router.adapters.redis.store import RedisSplitStore
from stream_router.core.lane import CANARY, LANES, STABLE
from stream_router.core.route import Route
from stream_router.demo.children import Children
from stream_router.demo.interrupts import Interrupts
from stream_router.demo.models import coefficients
from stream_router.demo.observer import Observer
from stream_router.demo.pace import accelerated
from stream_router.demo.report import Result
from stream_router.demo.servers import Servers
from stream_router.demo.watch import Plan, Watch, shown_url
from stream_router.errors import SettingError
from stream_router.settings import PREFIX, Settings
from stream_router.views.terminal import Screen

PARTITIONS: Final = 4

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
        settings = servers.settings
        screen.say(f"Kafka {settings.bootstrap_servers} and Redis {shown_url(settings)} answer")
        _create_topics(settings, plan.route, screen)
        state = {f"{PREFIX}STATE_FOLDER": str(folder / "state")}
        children = Children(folder, servers.cwd, servers.environment | accelerated(folder) | state, interrupts)
        cleanup.callback(children.stop)
        _start(children, plan, screen)
        store = RedisSplitStore(plan.route, _patient(settings))
        cleanup.callback(store.close)
        observer = Observer(settings, plan.route)
        cleanup.callback(observer.close)
        return Watch(plan, observer, store, children, screen).run(f"$ redis-cli -u {shown_url(settings)}", begun)


def _create_topics(settings: Settings, route: Route, screen: Screen) -> None:
    if any(state.partitions is not None for state in topics.states(settings, route)):
        raise SettingError(
            f"route {route.name} has topics on these servers already: name a new route with --route, so that the "
            "demo disturbs nothing and nothing disturbs the demo"
        )
    created = topics.apply(settings, route, PARTITIONS)
    screen.say(f"Created {len(created)} topics of route {route.name}")


def _start(children: Children, plan: Plan, screen: Screen) -> None:
    route = ("--route", plan.route.name)
    children.start("route", "route", *route)
    for lane in LANES:
        model = ("--model", "stream_router.demo.models:load", "--model-version", plan.versions[lane])
        children.start(f"score-{lane}", "score", *route, "--lane", lane, *model, "--request-schema", "flight_request")
    children.start("monitor", "monitor", *route)
    children.start("produce", "demo", "produce", *route)
    screen.say(f"Started {children.names}, each a process; all traffic goes to stable")


def _patient(settings: Settings) -> Settings:
    """A demo may wait for Redis where a router may not."""
    return settings.model_copy(update={"redis": {"socket_timeout": 10, "socket_connect_timeout": 10} | settings.redis})
