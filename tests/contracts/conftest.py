import itertools
from collections.abc import Callable, Iterator

import pytest
from support.split_benches import Bench, FakeBench, ValkeyBench
from support.valkey import valkey_server

from stream_router.core.route import Route

_numbers = itertools.count()


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """URL of a Valkey of our own, empty at first; tests keep apart by the names of their routes."""
    with valkey_server() as url:
        yield url


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
