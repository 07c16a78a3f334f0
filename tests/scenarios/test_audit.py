"""`stream-router audit` on real topics: nothing to find behind a router, and each fault that is planted there."""

import json
import time
from contextlib import suppress

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from support.processes import Processes
from support.raw_headers import produce_batch
from support.waiting import wait_until

from stream_router.adapters.kafka import topics
from stream_router.core.lane import LANES
from stream_router.core.route import Route
from stream_router.core.routing.header import HEADER
from stream_router.errors import AuditError

pytestmark = pytest.mark.stack


@pytest.fixture
def audited(stack_processes: Processes, route):
    """The exit code of the command, and what it says."""

    def run(*arguments):
        command = stack_processes.run("audit", "--route", route.name, "--output", "json", *arguments)
        assert command.stdout, command.stderr
        return command.wait(), json.loads(command.stdout)

    return run


@pytest.fixture
def routed(stack_processes: Processes, route, feeder, redis, lanes):
    """400 requests routed under a split, then 400 under another one, and the router ended."""
    router = None
    for epoch, split in enumerate(('{"stable": 0.5, "canary": 0.5}', '{"stable": 0.8, "canary": 0.2}'), 1):
        redis.set(route.key("split"), split)
        router = router or stack_processes.start("route", "--route", route.name)
        wait_until(lambda epoch=epoch: epoch in lanes.splits(), 30, "the split to be in force")
        feeder.send(400)
        wait_until(lambda: lanes.count() == feeder.sent, 30, "all requests to be routed")
    assert router.terminate() == 0
    return lanes.routed()


@pytest.mark.usefixtures("routed")
def test_behind_a_router_it_finds_nothing_and_says_what_is_not_routed_yet(
    stack, route, feeder, audited, stack_processes: Processes
):
    code, report = audited()
    assert (code, report["clean"], set(report["faults"].values()), report["shown"]) == (0, True, {0}, [])
    assert (report["requests"], report["routed"], report["waiting"], report["before"]) == (800, 800, 0, 0)
    feeder.send(50)
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "transactional.id": f"{route.name}-aborted"})
    producer.init_transactions(30)
    producer.begin_transaction()
    for lane in LANES:
        producer.produce(route.lane_topic(lane), b"aborted", b"key", 0)
    assert producer.flush(10) == 0
    producer.abort_transaction(30)
    code, report = audited("--since", "2000-01-01")
    assert (code, report["routed"], report["waiting"], report["faults"]["foreign"]) == (0, 800, 50, 0)
    text = stack_processes.run("audit", "--route", route.name)
    assert text.wait() == 0
    assert "800 requests" in text.stdout
    assert "50 more are not routed yet" in text.stdout
    assert "once and in order" in text.stdout


@pytest.mark.long
def test_each_planted_fault_is_found_and_nothing_else(stack, route, routed, audited, stack_processes: Processes):
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "partitioner": "murmur2_random"})
    source = route.topic("requests")
    placed: list[tuple[str, str, int]] = []

    def write(topic, record, **changes):
        record, reports = record._replace(**changes), []
        producer.produce(
            topic,
            record.value,
            record.key,
            record.partition,
            lambda _, message: reports.append(message.offset()),
            timestamp=record.timestamp,
            headers=record.headers,
        )
        assert producer.flush(10) == 0
        return record.partition, reports[0]

    def plant(kind, lane, record, **changes):
        placed.append((kind, route.lane_topic(lane), *write(route.lane_topic(lane), record, **changes)))

    def request(record, **changes):
        """A request like one that was routed, which the router has yet to take."""
        return write(source, record, headers=record.headers[:-1], **changes)

    stable = routed["stable"]
    keyed = [record for record in stable if record.key and record.headers[-1][1].startswith(b"epoch=1;")]
    (other,) = {lane for lane in LANES if lane != "stable"}
    now = int(time.time() * 1000)

    plant("doubled", "stable", keyed[0])
    plant("foreign", "canary", keyed[1], value=b"nobody's", timestamp=now, key=b"nobody")
    request(keyed[2], value=b"new 1")
    plant("misrouted", other, keyed[2], value=b"new 1")
    request(keyed[3], value=b"new 2")
    header = keyed[3].headers[-1][1].replace(b"epoch=1;", b"epoch=77;")
    plant("unknown-split", "stable", keyed[3], value=b"new 2", headers=[*keyed[3].headers[:-1], (HEADER, header)])
    request(keyed[4], value=b"new 3")
    plant("changed", "stable", keyed[4], value=b"not new 3")
    lost, late, early = (keyed[5]._replace(value=value) for value in (b"new 4", b"new 5", b"new 6"))
    placed.append(("lost", source, *request(lost)))
    request(late)
    request(early)
    write(route.lane_topic("stable"), early)
    plant("reordered", "stable", late)
    commit(stack, route.router_group, {TopicPartition(source, record.partition, 10_000) for record in keyed[2:6]})

    code, report = audited()
    found = [(fault["kind"], fault["topic"], fault["partition"], fault["offset"]) for fault in report["shown"]]
    assert sorted(found) == sorted(placed), report["shown"]
    assert code == AuditError.exit_code
    assert all(fault["why"] for fault in report["shown"])
    text = stack_processes.run("audit", "--route", route.name)
    assert text.wait() == AuditError.exit_code
    for kind, topic, partition, offset in placed:
        assert f"{topic} {partition} {offset}" in text.stdout
        assert kind in text.stdout
    assert text.stderr == f"stream-router: {len(placed)} faults in the lanes of route {route.name}\n"


def commit(stack, group, offsets):
    """As a router would have done it; a group takes that from outside once its last member is forgotten."""
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})

    def taken():
        wanted = ConsumerGroupTopicPartitions(group, sorted(offsets))
        with suppress(KafkaException):
            done = admin.alter_consumer_group_offsets([wanted])[group].result()
            return all(one.error is None for one in done.topic_partitions)
        return False

    wait_until(taken, 30, "the group to take the offsets")


def test_a_dead_letter_counts_as_routed(stack, stack_processes: Processes, route, lanes, audited):
    good, bad = (b"key", b"good", {b"h": b"1"}), (b"key", b"bad", {b"h": b"1", b"h\xff": b"2"})
    produce_batch(stack.bootstrap_servers, route.topic("requests"), [good, bad, good, bad])
    router = stack_processes.start("route", "--route", route.name)
    wait_until(lambda: len(lanes.read("dead-letters")) == 2, 30, "the dead letters")
    wait_until(lambda: lanes.count() == 2, 30, "the others to be routed")
    assert router.terminate() == 0
    code, report = audited("--since", "0")
    assert (code, report["routed"], report["dead_letters"]) == (0, 2, 2)


def test_what_retention_or_a_later_start_took_away_is_no_fault_and_since_judges_it(
    stack, stack_processes: Processes, route, feeder, lanes, audited
):
    feeder.send(200)
    router = stack_processes.start("route", "--route", route.name, "--from", "latest")
    wait_until(lambda: "partitions assigned" in router.stderr, 30, "the router to have its partitions")
    feeder.send(400)
    wait_until(lambda: lanes.count() == 400, 30, "the others to be routed")
    assert router.terminate() == 0
    code, report = audited()
    assert (code, report["routed"], report["before"]) == (0, 400, 200)
    code, report = audited("--since", "0")
    assert (code, report["faults"]["lost"]) == (AuditError.exit_code, 200)
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    for topic, share in (("requests", 3), ("requests.stable", 2)):
        ends = {record.partition: record.offset for record in lanes.read(topic)}
        cut = [TopicPartition(route.topic(topic), partition, end // share) for partition, end in ends.items()]
        for deleted in admin.delete_records(cut).values():
            deleted.result()
        code, report = audited()
        assert (code, report["shown"]) == (0, [])
        assert report["routed"] > 100
        assert report["judged_from"] > 0, "a part that is not judged is not passed over in silence"


def test_partitions_that_differ_are_an_error_that_says_so(stack, stack_processes: Processes, settings, route_name):
    route = Route(route_name)
    topics.apply(settings, route, 2)
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})

    for grown in admin.create_partitions([NewPartitions(route.lane_topic("canary"), 3)]).values():
        grown.result()
    wait_until(
        lambda: len(admin.list_topics(timeout=10).topics[route.lane_topic("canary")].partitions) == 3, 30, "growth"
    )
    command = stack_processes.run("audit", "--route", route.name)
    assert command.wait() == 1
    assert f"{route.lane_topic('canary')} has 3 partitions and {route.topic('requests')} has 2" in command.stderr


def test_brokers_that_do_not_answer_are_exit_code_6(stack_processes: Processes, route_name):
    command = stack_processes.run("audit", "--route", route_name, "--bootstrap-servers", "127.0.0.1:1")
    assert command.wait() == 6
    assert command.stdout == ""
