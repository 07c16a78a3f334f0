"""Whatever befalls Redis under a router at work: nothing is lost, no rollback undone, and it is found again at once."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import pytest
from confluent_kafka import Producer
from redis import Redis
from support.ports import free_port
from support.valkey import valkey_server
from support.waiting import wait_until
from support.wire import Wire

from stream_router.adapters.avro.records import decode_split, encode_rollout_event
from stream_router.core.rollout.rollout_event import ROLLBACK, RolloutEvent
from stream_router.core.routing.applied_split import AppliedSplit

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(300)]

NOWHERE = ("127.0.0.1", 1)

FOUND = 5
"""Seconds in which a router has found a Redis that answers again. Promised is one, which `make bench-split` measures:
how busy the machine is may not decide a test.
"""


class World:
    """A router behind a wire to one of two servers."""

    def __init__(self, stack, stack_processes, route, lanes, feeder, servers: tuple[str, str], wire: Wire) -> None:
        self.route, self.lanes, self.feeder, self.wire = route, lanes, feeder, wire
        self.first, self.second = servers
        self._producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
        self._shares = count(1)
        self.operator = Redis.from_url(self.first)
        self.set_split()
        self._processes = stack_processes
        self.start_router()
        wait_until(self.laws, 60, "the first split to be in force")

    def start_router(self) -> None:
        self.router = self._processes.start("route", "--route", self.route.name, "--redis-url", self.wire.url)

    def laws(self) -> list[AppliedSplit]:
        return [decode_split(record.value) for record in self.lanes.read("splits")]

    def set_split(self) -> bytes:
        """Another one each time."""
        canary = next(self._shares) / 100
        raw = b'{"stable": %.2f, "canary": %.2f}' % (1 - canary, canary)
        self.operator.set(self.route.key("split"), raw)
        return raw

    def lead_to_the_second(self) -> None:
        self.wire.lead_to(self.second)
        self.operator.close()
        self.operator = Redis.from_url(self.second)
        self.first, self.second = self.second, self.first

    def replicate_for_the_last_time(self) -> None:
        """The second server is a replica that has all, and is then cut off from its primary."""
        port = free_port()
        self.operator.config_set("port", port)
        with Redis.from_url(self.second) as second:
            second.replicaof("127.0.0.1", port)
            wait_until(lambda: self.operator.wait(1, 1_000) == 1, 30, "the replica to have all")
            second.replicaof(*NOWHERE)

    def promote_the_second(self) -> None:
        with Redis.from_url(self.second) as second:
            assert second.info("replication")["role"] == "slave"
            second.replicaof("NO", "ONE")
        self.lead_to_the_second()

    def obeys(self, raw: bytes) -> None:
        wait_until(lambda: self.laws()[-1].raw == raw, FOUND, f"{raw!r} to be in force", poll=0.02)

    def goes_on(self) -> None:
        """Routing does, although Redis is as it is."""
        before = self.lanes.count()
        wait_until(lambda: self.lanes.count() > before + 200, 30, "requests to be routed meanwhile")

    def notices(self, number: int) -> None:
        words = "routing goes on with the last split"
        wait_until(lambda: self.router.stderr.count(words) >= number, 30, "the router to say that Redis is away")

    def roll_back(self, rollout: int) -> None:
        event = RolloutEvent(
            kind=ROLLBACK, rollout=rollout, epoch=1, digest="", verdict="unhealthy", reason="worse", decided_at=1
        )
        self._producer.produce(self.route.topic("rollout-events"), encode_rollout_event(event), b"1")
        assert self._producer.flush(10) == 0


@pytest.fixture
def world(stack, stack_processes, route, lanes, feeder) -> Iterator[World]:
    with valkey_server() as first, valkey_server() as second:
        wire = Wire(first)
        found = World(stack, stack_processes, route, lanes, feeder, (first, second), wire)
        yield found
        found.operator.close()
        wire.close()


@contextmanager
def server_that_hangs(world: World) -> Iterator[None]:
    pid = world.operator.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def wire_that_is_cut(world: World) -> Iterator[None]:
    world.wire.be("cut")
    yield
    world.wire.be("sound")


@contextmanager
def server_that_loads(world: World) -> Iterator[None]:
    world.wire.be("loading")
    yield
    world.wire.be("sound")


@contextmanager
def server_restarted_empty(world: World) -> Iterator[None]:
    world.wire.be("cut")
    yield
    with Redis.from_url(world.second) as second:
        second.flushall()
    world.lead_to_the_second()


def commands(begin: str, end: str) -> Callable[[World], object]:
    """What an operator does to the server. The script fails where it has something to write, so it is given that."""

    @contextmanager
    def fault(world: World) -> Iterator[None]:
        world.operator.delete(world.route.key("applied"))
        world.operator.execute_command(*begin.split())
        world.operator.execute_command("CLIENT", "KILL", "TYPE", "normal")
        yield
        world.operator.execute_command(*end.split())

    return fault


FAULTS = {
    "SIGSTOP": server_that_hangs,
    "cut": wire_that_is_cut,
    "LOADING": server_that_loads,
    "restarted empty": server_restarted_empty,
    "NOPERM": commands("ACL SETUSER default -evalsha -eval", "ACL SETUSER default +evalsha +eval"),
}


def test_a_redis_that_fails_stops_nothing_and_is_found_again(world: World):
    """One router through all of it. A half-open connection is noticed by nobody but who asks."""
    with world.feeder.steadily(1000):
        for number, (name, fault) in enumerate(FAULTS.items(), 1):
            with fault(world):
                world.notices(number)
                world.goes_on()
            raw = world.set_split()
            world.obeys(raw)
            assert world.router.running(), name
        world.wire.fall_silent()
        world.goes_on()
        world.obeys(world.set_split())
    wait_until(lambda: world.lanes.count() >= world.feeder.sent, 60, "all requests to be routed")
    assert world.lanes.faults() == []


def test_a_redis_that_only_does_not_tell_changes_is_asked_for_them(world: World):
    """One router through both: a user without the right, and a proxy that ends the connection."""
    user = "ACL SETUSER default {}client|tracking"
    world.operator.execute_command(*user.format("-").split())
    world.wire.be("sound")
    refused = "Redis tells no changes"
    with world.feeder.steadily(1000):
        wait_until(lambda: world.router.stderr.count(refused) == 1, 30, "the refusal to be said")
        world.obeys(world.set_split())
        world.goes_on()
    assert world.router.terminate() == 0
    world.operator.execute_command(*user.format("+").split())
    world.wire.cut_at(b"TRACKING")
    world.start_router()
    with world.feeder.steadily(1000):
        wait_until(lambda: refused in world.router.stderr, 60, "the refusal to be said")
        world.obeys(world.set_split())
        world.goes_on()
    wait_until(lambda: world.lanes.count() >= world.feeder.sent, 60, "all requests to be routed")
    assert world.router.stderr.count(refused) == 1
    assert world.lanes.faults() == []


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        (f"REPLICAOF {NOWHERE[0]} {NOWHERE[1]}", "REPLICAOF NO ONE"),
    ],
    ids=["OOM", "READONLY"],
)
def test_a_rollback_that_redis_does_not_take_is_obeyed_and_stays_so_in_one_that_lost_it(world: World, begin, end):
    """The replica that is promoted in the end knows the bad split, and neither rollback nor latch."""
    with world.feeder.steadily(1000):
        world.goes_on()
        world.replicate_for_the_last_time()
        world.operator.execute_command(*begin.split())
        world.roll_back(1)
        wait_until(lambda: world.laws()[-1].canary == 0, 30, "the router to obey by itself")
        assert not world.laws()[-1].registered
        world.operator.execute_command(*end.split())
        wait_until(lambda: world.laws()[-1].registered, FOUND, "the script's own rollback")
        world.promote_the_second()
        latch = world.route.key("latch")
        wait_until(lambda: world.operator.hget(latch, "rollout") == b"1", FOUND, "the latch in the other Redis")
        refused, rejected = world.set_split(), world.route.key("rejected")
        wait_until(lambda: world.operator.hget(rejected, "raw") == refused, FOUND, "the refusal of the bad split")
        world.goes_on()
    wait_until(lambda: world.lanes.count() >= world.feeder.sent, 60, "all requests to be routed")
    assert world.lanes.faults() == []
    shares = [law.canary > 0 for law in world.laws()]
    assert shares == sorted(shares, reverse=True), "canary's share came back after the rollback"
