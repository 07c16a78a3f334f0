"""Every request is in exactly one lane, whatever happens to routers and Redis."""

import os
import signal

import pytest
from confluent_kafka import Producer
from redis import Redis
from support.lanes import routing_of
from support.ports import free_port
from support.processes import Processes
from support.waiting import wait_until

from stream_router.adapters.avro.records import decode_split, encode_rollout_event
from stream_router.core.rollout.rollout_event import ROLLBACK, RolloutEvent
from stream_router.local.valkey import Valkey

pytestmark = pytest.mark.stack


@pytest.mark.long
def test_every_request_is_in_exactly_one_lane_in_order_although_the_router_is_killed_ten_times(
    stack_processes: Processes, route, feeder, redis, lanes
):
    redis.set(route.key("split"), '{"stable": 0.9, "canary": 0.1}')
    feeder.send(2000)
    with feeder.steadily(4000):
        for kill in range(10):
            router = stack_processes.start("route", "--route", route.name, "--instance", "a")
            before = lanes.count()
            wait_until(lambda before=before: lanes.count() > before, 60, f"the router to route again after kill {kill}")
            if kill == 5:
                redis.set(route.key("split"), '{"stable": 0.7, "canary": 0.3}')
            router.kill()
    stack_processes.start("route", "--route", route.name, "--instance", "a")
    wait_until(lambda: lanes.count() >= feeder.sent, 60, "all requests to be routed")
    assert lanes.faults() == []
    assert {routing_of(record).epoch for record in lanes.read("requests.canary")} >= {1, 2}


def test_two_live_routers_of_one_name_are_a_clear_fatal_error(stack_processes: Processes, route, feeder, lanes):
    first = stack_processes.start("route", "--route", route.name, "--instance", "same")
    feeder.send(100)
    wait_until(lambda: lanes.count() == 100, 30, "requests to be routed")
    stack_processes.start("route", "--route", route.name, "--instance", "same")
    with feeder.steadily(200):
        assert first.wait(60) == 1
    assert "another live process is instance 'same'" in first.stderr
    wait_until(lambda: lanes.count() == feeder.sent, 60, "the second to route all")
    assert lanes.faults() == []


@pytest.mark.long
def test_two_routers_share_the_partitions_and_hand_them_over(stack_processes: Processes, route, feeder, redis, lanes):
    redis.set(route.key("split"), '{"stable": 0.9, "canary": 0.1}')
    stack_processes.start("route", "--route", route.name, "--instance", "a")
    with feeder.steadily(2000):
        wait_until(lambda: lanes.count() > 500, 30, "the first to route")
        second = stack_processes.start("route", "--route", route.name, "--instance", "b")
        wait_until(lambda: "partitions assigned" in second.stderr, 30, "the second to get partitions")
        before = lanes.count()
        wait_until(lambda: lanes.count() > before + 1000, 30, "both to route")
        second.terminate()
        assert second.wait(30) == 0
    wait_until(lambda: lanes.count() == feeder.sent, 60, "all requests to be routed")
    assert lanes.faults() == []


@pytest.mark.long
def test_a_router_that_was_stopped_for_longer_than_its_session_joins_again_by_itself(
    stack_processes: Processes, route, feeder, lanes
):
    """Its transaction outlives the stop, so that its group is all that it has lost."""
    flags = {
        "session.timeout.ms": "3000",
        "heartbeat.interval.ms": "500",
        "max.poll.interval.ms": "60000",
        "transaction.timeout.ms": "60000",
    }
    kafka = [part for name, value in flags.items() for part in ("--kafka", f"{name}={value}")]
    first = stack_processes.start("route", "--route", route.name, "--instance", "a", *kafka)
    with feeder.steadily(2000):
        wait_until(lambda: lanes.count() > 500, 30, "the first to route")
        second = stack_processes.start("route", "--route", route.name, "--instance", "b", *kafka)
        wait_until(lambda: "partitions assigned" in second.stderr, 30, "the second to get partitions")
        before, taken = lanes.count(), second.stderr.count("partitions assigned")
        wait_until(lambda: lanes.count() > before + 1000, 30, "both to route")
        first.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: second.stderr.count("partitions assigned") > taken, 30, "the second to get them all")
        held = first.stderr.count("partitions assigned")
        first.process.send_signal(signal.SIGCONT)
        wait_until(lambda: first.stderr.count("partitions assigned") > held, 30, "the first to get some again")
        before = lanes.count()
        wait_until(lambda: lanes.count() > before + 1000, 30, "both to route")
    wait_until(lambda: lanes.count() == feeder.sent, 60, "all requests to be routed")
    assert lanes.faults() == []
    assert first.running()
    assert second.running()


PATIENCE = 60
"""Seconds that the user's settings give a reply of Redis."""


@pytest.mark.parametrize("hangs", [False, True], ids=["away", "half-open"])
def test_a_rollback_in_kafka_is_obeyed_without_redis(
    stack, stack_processes: Processes, route, feeder, lanes, tmp_path, hangs: bool
):
    valkey, port = Valkey(tmp_path / "valkey"), free_port()
    valkey.start(port)
    try:
        wait_until(lambda: valkey.answers(port), 30, "Valkey to answer")
        with Redis(port=port) as client:
            client.set(route.key("split"), '{"stable": 0.5, "canary": 0.5}')
        url, patience = f"redis://127.0.0.1:{port}/0", {"STREAM_ROUTER_REDIS__SOCKET_TIMEOUT": str(PATIENCE)}
        router = stack_processes.start("route", "--route", route.name, "--redis-url", url, **patience)
        wait_until(lambda: lanes.read("splits"), 30, "the split to be in force")
        feeder.send(200)
        wait_until(lambda: lanes.count() == 200, 30, "requests to be routed")
        if hangs:
            os.kill(valkey.daemon.pid(), signal.SIGSTOP)
        else:
            valkey.daemon.stop(10)
        producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
        event = RolloutEvent(
            kind=ROLLBACK, rollout=1, epoch=1, digest="", verdict="unhealthy", reason="worse by 14 points", decided_at=1
        )
        producer.produce(route.topic("rollout-events"), encode_rollout_event(event), b"1")
        assert producer.flush(10) == 0
        applied = wait_until(
            lambda: [applied for r in lanes.read("splits") if not (applied := decode_split(r.value)).registered],
            30,
            "a split of its own",
        )[0]
        assert (applied.epoch, applied.canary, applied.raw) == (2, 0.0, b'{"stable":1.0,"canary":0.0}')
        (intent,) = lanes.read("rollout-events")
        assert applied.time - intent.timestamp < PATIENCE * 1000, "a timeout of the user's must not stretch it"
        feeder.send(300)
        wait_until(lambda: lanes.count() == 500, 30, "requests to be routed without Redis")
        assert lanes.faults() == []
        assert {routing_of(r).epoch for r in lanes.read("requests.canary")} == {1}
        assert router.running()
    finally:
        valkey.daemon.stop(1)  # a stopped process ends by SIGKILL only
