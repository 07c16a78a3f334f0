"""`stream-router audit` on real topics: nothing to find behind a router, and each fault that is planted there."""

import json
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from support.processes import Processes
from support.raw_headers import produce_batch
from support.waiting import wait_until

from stream_router.adapters.kafka import audited as audited_topics
from stream_router.adapters.kafka import topics
from stream_router.core.lane import LANES
from stream_router.core.route import Route
from stream_router.core.routing.header import HEADER
from stream_router.errors import AuditError, TopicError
from stream_router.processes.audit import audit_route

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
    for topic, share in (("requests", 3), ("requests.stable", 2)):
        last = {record.partition: record.offset for record in lanes.read(topic)}
        delete_heads(stack, route.topic(topic), {partition: offset // share for partition, offset in last.items()})
        code, report = audited()
        assert (code, report["shown"]) == (0, [])
        assert report["routed"] > 100
        assert report["judged_from"] > 0, "a part that is not judged is not passed over in silence"


def delete_heads(stack, topic, ends):
    """What lies before these offsets, -1 for all, by partition: as no retention by time would do it."""
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    heads = [TopicPartition(topic, partition, end) for partition, end in ends.items()]
    for deleted in admin.delete_records(heads).values():
        deleted.result()


@pytest.mark.usefixtures("routed")
@pytest.mark.parametrize("topic", ["requests", "requests.stable", "requests.canary"])
def test_what_was_deleted_to_the_end_of_a_topic_is_no_fault_and_what_comes_after_it_is_judged(
    stack, stack_processes: Processes, route, feeder, lanes, audited, topic
):
    delete_heads(stack, route.topic(topic), dict.fromkeys(range(4), -1))
    code, report = audited()
    assert (code, report["shown"]) == (0, [])
    assert report["requests"] < 800
    kept = lanes.count()
    router = stack_processes.start("route", "--route", route.name)
    feeder.send(400)
    wait_until(lambda: lanes.count() == kept + 400, 30, "all requests to be routed")
    assert router.terminate() == 0
    code, report = audited()
    assert (code, report["shown"]) == (0, [])
    assert report["routed"] >= 300


def test_of_times_out_of_order_the_head_of_both_lanes_may_be_deleted(
    stack, stack_processes: Processes, route, redis, lanes, audited
):
    """As producers on several machines write them: what was deleted is not all older than what was kept."""
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "partitioner": "murmur2_random"})
    now = int(time.time() * 1000)
    for number in range(800):
        producer.produce(route.topic("requests"), b"%d" % number, b"%d" % number, timestamp=now - number * 7 % 100)
    assert producer.flush(10) == 0
    redis.set(route.key("split"), '{"stable": 0.5, "canary": 0.5}')
    router = stack_processes.start("route", "--route", route.name)
    wait_until(lambda: lanes.count() == 800, 30, "all requests to be routed")
    assert router.terminate() == 0
    for topic, share in (("requests.stable", 3), ("requests.canary", 2)):
        last = {record.partition: record.offset for record in lanes.read(topic)}
        delete_heads(stack, route.topic(topic), {partition: offset // share for partition, offset in last.items()})
    code, report = audited()
    assert (code, report["shown"]) == (0, [])


@pytest.mark.parametrize("is_committed", [True, False])
def test_the_end_of_a_transaction_that_is_open_meanwhile_is_waited_for(
    stack, settings, route, routed, monkeypatch, is_committed
):
    """As a router's that was read into the ends of the lanes, and not yet into its group's offset."""
    copies = [record for record in routed["stable"] if record.key][:10]
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "partitioner": "murmur2_random"})
    for record in copies:
        fields = {"key": record.key, "partition": record.partition, "headers": record.headers[:-1]}
        producer.produce(route.topic("requests"), b"new " + record.value, timestamp=record.timestamp, **fields)
    assert producer.flush(10) == 0
    router = Producer({"bootstrap.servers": stack.bootstrap_servers, "transactional.id": f"{route.name}-open"})
    router.init_transactions(30)
    router.begin_transaction()
    for record in copies:
        fields = {"key": record.key, "partition": record.partition, "headers": record.headers}
        router.produce(route.lane_topic("stable"), b"new " + record.value, timestamp=record.timestamp, **fields)
    assert router.flush(10) == 0
    waits = []

    def end_it(_seconds):
        if not waits:
            (router.commit_transaction if is_committed else router.abort_transaction)(30)
        waits.append(1)

    monkeypatch.setattr(audited_topics, "time", SimpleNamespace(monotonic=time.monotonic, sleep=end_it))
    findings = audit_route(settings, route, since=None, progress=lambda *_: None)
    assert waits
    assert findings.shown == []
    assert (findings.routed, findings.waiting) == ((810, 0) if is_committed else (800, 10))


@pytest.mark.usefixtures("routed")
def test_a_transaction_that_nobody_ends_is_an_error_that_says_where(stack, settings, route, monkeypatch):
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "transactional.id": f"{route.name}-hangs"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(route.lane_topic("canary"), b"hangs", b"key", 2)
    assert producer.flush(10) == 0
    monkeypatch.setattr(audited_topics, "_PATIENCE", 0)
    with pytest.raises(TopicError, match=rf"{route.lane_topic('canary')}, partition 2, from offset \d+ on"):
        audit_route(settings, route, since=None, progress=lambda *_: None)
    producer.abort_transaction(30)


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
