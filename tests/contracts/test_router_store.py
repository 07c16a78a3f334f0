"""What routers tell of themselves: one suite for the fake and for a real server."""

from dataclasses import replace

import pytest
from redis import Redis

from stream_router.adapters.redis.routers import RedisRouterStore, router_from_json
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.router_status import STALE_AFTER, RouterStatus, disobeying
from stream_router.errors import UnreachableError
from stream_router.settings import Settings
from stream_router.testing.router_store import FakeRouterStore

ROUTER = RouterStatus(instance="host", epoch=3, digest="1f3a9c0b77d2", seen=2_000)


@pytest.fixture(params=["fake", "valkey"])
def store(request, new_route):
    if request.param == "fake":
        yield FakeRouterStore()
    else:
        store = RedisRouterStore(new_route(), Settings(redis_url=request.getfixturevalue("valkey_url")))
        yield store
        store.close()


def test_a_router_is_known_by_its_newest_word_until_it_leaves(store):
    other = replace(ROUTER, instance="other")
    for router in (ROUTER, other, replace(ROUTER, epoch=4)):
        store.tell(router)
    assert set(store.routers()) == {replace(ROUTER, epoch=4), other}
    store.leave("host")
    store.leave("host")
    assert store.routers() == (other,)


@pytest.mark.parametrize("content", [b"", b"no JSON", b"[]", b"{}", b'{"instance": "host"}', b"\xff"])
def test_what_no_router_has_written_is_passed_over(content, new_route, valkey_url):
    assert router_from_json(content) is None
    route = new_route()
    with Redis.from_url(valkey_url) as redis:
        redis.hset(route.key("routers"), "host", content)
    store = RedisRouterStore(route, Settings(redis_url=valkey_url))
    assert store.routers() == ()
    store.close()


def test_an_outage_is_told():
    store = FakeRouterStore()
    store.away = True
    with pytest.raises(UnreachableError):
        store.routers()


def test_only_who_lives_and_routes_by_another_split_disobeys():
    split = AppliedSplit(raw=b'{"stable": 0.9, "canary": 0.1}', canary=0.1, epoch=3)
    obeys = replace(ROUTER, digest=split.digest)
    late = replace(obeys, instance="late", epoch=2)
    forked = replace(obeys, instance="forked", digest="another")
    dead = replace(late, instance="dead", seen=0)
    assert disobeying([obeys, late, forked, dead], split, STALE_AFTER) == ("forked", "late")
