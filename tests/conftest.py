"""Fixtures: one local stack per session, and a route of its own for each test."""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.processes import Processes

from stream_router.adapters.kafka import topics
from stream_router.core.route import Route
from stream_router.settings import Settings, load_settings


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("servers", "servers that are there already, instead of a local stack")
    group.addoption("--bootstrap-servers", help="Kafka")
    group.addoption("--redis-url", help="Redis or Valkey")


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


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The servers of this session: started once, unless both are named on the command line."""
    bootstrap_servers, redis_url = (request.config.getoption(name) for name in ("bootstrap_servers", "redis_url"))
    if bootstrap_servers and redis_url:
        yield Servers(bootstrap_servers, redis_url)
        return
    from stream_router.local.stack import local_stack  # noqa: PLC0415 - unit tests run without the extra

    with local_stack(tmp_path_factory.mktemp("stack")) as running:
        yield Servers(bootstrap_servers or running.bootstrap_servers, redis_url or running.redis_url)


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
