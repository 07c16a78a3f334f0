"""What scoring jobs tell of themselves: one suite for the fake and for a real server."""

from dataclasses import replace

import pytest
from redis import Redis

from stream_router.adapters.redis.jobs import RedisJobStore, job_from_json, job_to_json
from stream_router.core.scoring.job import STALE_AFTER, JobStatus
from stream_router.errors import UnreachableError
from stream_router.settings import Settings
from stream_router.testing.job_store import FakeJobStore

JOB = JobStatus(
    lane="canary",
    instance="host",
    version="8",
    digest="1f3a9c0b77d2",
    state="failed",
    wanted="9",
    pinned=False,
    since=1_000,
    seen=2_000,
    last_error="no such file",
)


@pytest.fixture(params=["fake", "valkey"])
def store(request, new_route):
    if request.param == "fake":
        yield FakeJobStore()
    else:
        store = RedisJobStore(new_route(), Settings(redis_url=request.getfixturevalue("valkey_url")))
        yield store
        store.close()


def test_a_job_is_known_by_lane_and_instance_until_it_leaves(store):
    stable = replace(JOB, lane="stable", version=None, digest=None, state="waiting", wanted=None, last_error=None)
    for job in (JOB, stable, replace(JOB, seen=4_000)):
        store.tell(job)
    assert store.jobs() == {"canary/host": replace(JOB, seen=4_000), "stable/host": stable}
    store.leave("canary/host")
    store.leave("canary/host")
    assert store.jobs() == {"stable/host": stable}


def test_the_digest_of_a_version_is_that_of_its_first_load(store):
    assert store.record_digest("8", "first") == "first"
    assert store.record_digest("8", "second") == "first"
    assert store.record_digest("9", "second") == "second"


def test_a_job_is_live_until_it_has_said_nothing_for_too_long():
    assert JOB.is_live(JOB.seen + STALE_AFTER - 1)
    assert not JOB.is_live(JOB.seen + STALE_AFTER)


@pytest.mark.parametrize("content", [b"", b"no JSON", b"[]", b"{}", b'{"lane": "gone"}', b"\xff"])
def test_what_no_job_has_written_is_passed_over(content, new_route, valkey_url):
    route = new_route()
    with Redis.from_url(valkey_url) as client:
        client.hset(route.key("jobs"), "somebody", content)
    store = RedisJobStore(route, Settings(redis_url=valkey_url))
    store.tell(JOB)
    assert store.jobs() == {JOB.name: JOB}
    store.close()


def test_fields_of_a_later_version_are_passed_over():
    assert job_from_json(job_to_json(JOB).replace("{", '{"later": 1, ', 1).encode()) == JOB


@pytest.mark.parametrize(
    ("method", "arguments"), [("tell", [JOB]), ("leave", ["a"]), ("jobs", []), ("record_digest", ["8", "a"])]
)
def test_without_redis_every_method_says_so(method, arguments, tmp_path, new_route):
    fake, away = FakeJobStore(), RedisJobStore(new_route(), Settings(redis_url=f"unix://{tmp_path}/nowhere"))
    fake.away = True
    for store in (fake, away):
        with pytest.raises(UnreachableError):
            getattr(store, method)(*arguments)
