"""The router on real servers, as separate processes."""

import json
import time

import pytest
from confluent_kafka import Producer
from support.health import get, started, wait_until_ready
from support.lanes import routing_of
from support.processes import Processes
from support.raw_headers import produce_batch
from support.waiting import wait_until

from stream_router.core.dead_letter import REASON_HEADER

pytestmark = pytest.mark.stack


@pytest.mark.long
def test_a_plain_set_is_obeyed_without_restart(stack_processes: Processes, route, feeder, redis, lanes):
    router = stack_processes.start("route", "--route", route.name)
    feeder.send(200)
    wait_until(lambda: lanes.count() == 200, 30, "requests to be routed")
    assert lanes.read("requests.canary") == []
    for epoch, canary in enumerate((0.25, 1.0, 0.0), 1):
        redis.set(route.key("split"), json.dumps({"stable": 1 - canary, "canary": canary}))
        wait_until(lambda epoch=epoch: epoch in lanes.splits(), 30, f"epoch {epoch} to be in force")
        feeder.send(1000)
        wait_until(lambda: lanes.count() == feeder.sent, 30, "requests to be routed")
        under = [r for r in lanes.read("requests.canary") if routing_of(r).epoch == epoch]
        assert abs(len(under) - 1000 * canary) <= (150 if 0 < canary < 1 else 0)
    assert lanes.faults() == []
    assert router.running()


REFUSED = {
    '{"stable": 90, "canary": 10}': '{"stable": 0.9, "canary": 0.1}',
    '"10%"': "not a JSON object",
    '{"stable": 9, "canary": 1}': '{"stable": 0.9, "canary": 0.1}',
    '{"stable": 0.9, "canary": 0.05}': "sums to 0.95",
    '{"stable": 0.9, "blue": 0.1}': "unknown lane 'blue'",
    '{"canary": 0.1}': "does not name stable",
    '{"stable": 0.5, "stable": 0.5}': "twice",
    '{"stable": NaN, "canary": 0.1}': "NaN",
    '{"stable": 1.1, "canary": -0.1}': "not in 0 to 1",
    '{"stable": true}': "not a JSON number",
    "": "empty",
    "stable=0.9": "not JSON",
}


def test_each_refused_form_leaves_the_split_in_force_and_explains_itself(
    stack_processes: Processes, route, feeder, redis, lanes
):
    good = b'{"stable": 0.8, "canary": 0.2}'
    redis.set(route.key("split"), good)
    stack_processes.start("route", "--route", route.name)
    wait_until(lambda: redis.hget(route.key("applied"), "epoch") == b"1", 30, "the split to be in force")

    def why():
        return (redis.hget(route.key("rejected"), "why") or b"").decode()

    for document, said in REFUSED.items():
        redis.delete(route.key("rejected"))
        redis.set(route.key("split"), document)
        wait_until(lambda said=said: said in why(), 10, f"{document!r} to be refused with {said!r}")
    redis.delete(route.key("rejected"))
    redis.delete(route.key("split"))
    wait_until(why, 10, "a missing split to be refused")
    redis.delete(route.key("rejected"))
    redis.rpush(route.key("split"), "0.9", "0.1")
    wait_until(lambda: "list" in why(), 10, "a list to be refused")
    feeder.send(500)
    wait_until(lambda: lanes.count() == 500, 30, "requests to be routed")
    assert redis.hget(route.key("applied"), "raw") == good
    assert {routing_of(r).epoch for records in lanes.routed().values() for r in records} == {1}


def test_a_record_older_than_the_lanes_retention_is_a_dead_letter(
    stack, stack_processes: Processes, route, feeder, lanes
):
    old = 86_400_000  # milliseconds since the epoch: 2 January 1970
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
    producer.produce(route.topic("requests"), b"old", b"key", timestamp=old, headers=[("h", b"1")])
    assert producer.flush(10) == 0
    feeder.send(10)
    router = stack_processes.start("route", "--route", route.name)
    letter = wait_until(lambda: lanes.read("dead-letters"), 30, "the dead letter")[0]
    assert (letter.key, letter.value, letter.headers[0]) == (b"key", b"old", ("h", b"1"))
    added = dict(letter.headers)
    assert added["__connect.errors.topic"] == route.topic("requests").encode()
    assert b"retention" in added[REASON_HEADER]
    wait_until(lambda: lanes.count() == 10, 30, "the others to be routed")
    assert router.running()


def test_a_request_whose_header_name_is_not_utf8_is_a_dead_letter_and_the_router_goes_on(
    stack, stack_processes: Processes, route, feeder, lanes
):
    """Also where so many came before that the interpreter reads headers in another way."""
    good, bad = (b"key", b"good", {b"h": b"1"}), (b"key", b"bad", {b"h": b"1", b"h\xff": b"2"})
    produce_batch(stack.bootstrap_servers, route.topic("requests"), [good, bad, *[good] * 100, bad, good])
    router = stack_processes.start("route", "--route", route.name)
    wait_until(lambda: lanes.count() == 102, 30, "the others to be routed")
    letters = wait_until(lambda: lanes.read("dead-letters"), 30, "the dead letters")
    assert [(letter.key, letter.value) for letter in letters] == [(b"key", b"bad")] * 2
    for letter in letters:
        assert rb"name b'h\xff' is not UTF-8" in dict(letter.headers)[REASON_HEADER]
    router.terminate()
    assert router.wait(30) == 0
    feeder.send(10)
    stack_processes.start("route", "--route", route.name)
    wait_until(lambda: lanes.count() == 112, 30, "the group to go on behind them")
    assert len(lanes.read("dead-letters")) == 2


@pytest.mark.parametrize("partitions", [1])
def test_routers_say_where_they_serve_and_are_ready_with_a_split_and_their_partitions_if_any(
    stack, stack_processes: Processes, route
):
    for instance in ("one", "without a partition"):
        flags = ("--instance", instance, "--metrics-port", "0", "--log-format", "json")
        start = started(stack_processes.start("route", "--route", route.name, *flags))
        assert (start["event"], start["level"]) == ("router starts", "info")
        assert (start["route"], start["instance"], start["delivery"]) == (route.name, instance, "exactly-once")
        assert (start["brokers"], start["redis"]) == (stack.bootstrap_servers, stack.redis_url)
        assert wait_until_ready(start["metrics"]) == {"split": "ready", "assignment": "ready"}
        assert get(start["metrics"].replace("/metrics", "/livez"))[0] == 200


def test_every_line_is_json_where_logs_are_also_the_last_error_and_what_librdkafka_says(
    stack_processes: Processes, route
):
    command = ("route", "--route", route.name, "--instance", "same", "--log-format", "json", "--kafka", "log_level=7")
    first = stack_processes.start(*command)
    wait_until(lambda: "partitions assigned" in first.stderr, 30, "the first router to have its partitions")
    second = stack_processes.start(*command)
    assert first.wait(30) == 1
    wait_until(lambda: "partitions assigned" in second.stderr, 30, "the second router to have its partitions")
    assert second.terminate() == 0
    entries = [json.loads(line) for line in first.stderr.splitlines() + second.stderr.splitlines()]
    assert "librdkafka" in {entry.get("logger") for entry in entries}
    last = [entry for entry in entries if entry["event"] == "ended by an error"]
    assert [entry["exit_code"] for entry in last] == [1]


def test_a_password_of_redis_is_not_in_the_log(stack, stack_processes: Processes, route):
    url = f"{stack.redis_url}?password=hunter2"
    router = stack_processes.start("route", "--route", route.name, "--redis-url", url)
    wait_until(lambda: "partitions assigned" in router.stderr, 30, "the router to have its partitions")
    assert router.terminate() == 0
    assert "?(hidden)" in router.stderr
    assert "hunter2" not in router.stderr


def test_at_least_once_routes_every_request(stack_processes: Processes, route, feeder, redis, lanes):
    redis.set(route.key("split"), '{"stable": 0.5, "canary": 0.5}')
    router = stack_processes.start("route", "--route", route.name, "--delivery", "at-least-once")
    feeder.send(1000)
    wait_until(lambda: lanes.count() >= 1000, 30, "all requests to be routed")
    router.terminate()
    assert router.wait(30) == 0
    assert {r.value for records in lanes.routed().values() for r in records} == {
        r.value for r in lanes.read("requests")
    }


@pytest.mark.long
def test_from_latest_and_from_a_time_begin_where_they_say(stack_processes: Processes, route, feeder, lanes):
    feeder.send(100)
    time.sleep(0.01)  # so that the time below lies between the two lots
    between = time.time_ns() // 1_000_000
    time.sleep(0.01)
    feeder.send(50)
    router = stack_processes.start("route", "--route", route.name, "--from", str(between))
    wait_until(lambda: lanes.count() == 50, 30, "the second lot to be routed")
    router.terminate()
    assert router.wait(30) == 0
    feeder.send(25)
    stack_processes.start("route", "--route", route.name, "--from", "earliest", "--instance", "other")
    wait_until(lambda: lanes.count() == 75, 30, "the group to go on from its offsets")


def test_from_latest_begins_at_the_end_as_it_was_when_first_asked(stack_processes: Processes, route, feeder, lanes):
    feeder.send(100)
    router = stack_processes.start("route", "--route", route.name, "--from", "latest", "--instance", "a")
    wait_until(lambda: "partitions assigned" in router.stderr, 30, "the router to have its partitions")
    feeder.send(50)
    wait_until(lambda: lanes.count() == 50, 30, "what came afterwards to be routed")
    router.kill()
    feeder.send(25)
    stack_processes.start("route", "--route", route.name, "--from", "latest", "--instance", "a")
    wait_until(lambda: lanes.count() == 75, 30, "the group to go on from its offsets")
