"""Fixtures: one local stack a run, and a route of its own for each test."""

import logging
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
from hypothesis import settings
from redis import Redis
from support.lanes import Lanes
from support.load import Feeder
from support.processes import Processes
from support.run import run_folder
from support.scoring import Lane
from support.supervision import Supervision
from support.whole_loop import Loop

from stream_router.adapters.kafka import topics
from stream_router.core.route import Route
from stream_router.settings import Settings, load_settings

settings.register_profile("untimed", deadline=None)  # a busy machine fails no property
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("servers", "servers that are there already, instead of a local stack")
    group.addoption("--bootstrap-servers", help="Kafka")
    group.addoption("--redis-url", help="Redis or Valkey")
    parser.addoption("--beside", metavar="COMMAND", help="run COMMAND beside the tests; they fail if it fails")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # workers of xdist take part in the run of their controller
        config.pluginmanager.register(Supervision(config))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First what needs no servers, while they come up; last what is short, so that all workers end together."""
    items.sort(key=lambda item: (is_marked(item, "stack"), not is_marked(item, "long")))


def is_marked(item: pytest.Item, name: str) -> bool:
    return item.get_closest_marker(name) is not None


@dataclass(frozen=True)
class Servers:
    """Where Kafka and Redis are."""

    bootstrap_servers: str
    redis_url: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "STREAM_ROUTER_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "STREAM_ROUTER_REDIS_URL": self.redis_url,
        }


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("STREAM_ROUTER_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A test that sets logging up in this process does so for itself alone."""
    root, ours = logging.getLogger(), logging.getLogger("stream_router")
    handlers, levels = root.handlers, (root.level, ours.level)
    yield
    root.handlers = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    structlog.reset_defaults()
    logging.captureWarnings(False)


@pytest.fixture(scope="session", autouse=True)
def _stack_comes_up(request: pytest.FixtureRequest) -> Iterator[None]:
    """Starts the stack while the first tests run, since downloading Kafka takes a while."""
    is_needed = any(is_marked(item, "stack") for item in request.session.items)
    if not is_needed or servers_named(request.config) or os.environ.get("PYTEST_XDIST_WORKER", "gw0") != "gw0":
        yield
        return
    up = Processes(run_folder(), {}).start("local", "up", "--data", str(run_folder() / "stack"))
    yield
    up.wait(300)


def servers_named(config: pytest.Config) -> Servers | None:
    """The servers that are there already, if both are named on the command line."""
    bootstrap_servers, redis_url = (config.getoption(name) for name in ("bootstrap_servers", "redis_url"))
    return Servers(bootstrap_servers, redis_url) if bootstrap_servers and redis_url else None


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Servers:
    """The servers of this run: started once, also for several workers, unless both are named on the command line."""
    if named := servers_named(request.config):
        return named
    from stream_router.local.stack import start  # noqa: PLC0415 - unit tests run without the extra

    running = start(run_folder() / "stack")
    return Servers(
        request.config.getoption("bootstrap_servers") or running.bootstrap_servers,
        request.config.getoption("redis_url") or running.redis_url,
    )


@pytest.fixture
def settings(stack: Servers) -> Settings:
    """Settings of the session's servers."""
    return load_settings(flags={"bootstrap_servers": stack.bootstrap_servers, "redis_url": stack.redis_url})


@pytest.fixture
def route_name() -> str:
    """A name that no other test has."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def partitions() -> int:
    """Partitions of the route's topics; parametrize it for others."""
    return 4


@pytest.fixture
def route(settings: Settings, route_name: str, partitions: int) -> Route:
    """A new route with its topics."""
    fresh = Route(route_name)
    topics.apply(settings, fresh, partitions)
    return fresh


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Runs commands without settings; none is left at the end."""
    started = Processes(tmp_path, {})
    yield started
    started.end()


@pytest.fixture
def stack_processes(stack: Servers, tmp_path: Path) -> Iterator[Processes]:
    """Runs commands on the session's servers; none is left at the end."""
    started = Processes(tmp_path, stack.environment)
    yield started
    started.end()


@pytest.fixture
def redis(stack):
    client = Redis.from_url(stack.redis_url)
    yield client
    client.close()


@pytest.fixture
def feeder(stack, route):
    return Feeder(stack.bootstrap_servers, route.topic("requests"))


@pytest.fixture
def lanes(stack, route):
    found = Lanes(stack.bootstrap_servers, route)
    yield found
    found.close()


@pytest.fixture
def lane(stack, route, stack_processes):
    return Lane(stack.bootstrap_servers, route, stack_processes)


@pytest.fixture
def loop(stack, route, stack_processes):
    with Redis.from_url(stack.redis_url) as redis:
        yield Loop(stack, route, stack_processes, redis)
