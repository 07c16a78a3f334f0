"""The controller acts while evidence keeps coming."""

import json
import threading

import pytest
from confluent_kafka import Producer
from support.evidence import flush, outcome, started
from support.kafka import kafka_records
from support.policies import policy_with, variables
from support.waiting import wait_until

from stream_router.adapters.avro.evidence import decode_evidence, encode_evidence
from stream_router.adapters.avro.records import decode_rollout_event, encode_split
from stream_router.adapters.clock import now_ms
from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.evidence import Count, EpochInForce, Evidence, Positions
from stream_router.core.rollout.rollout_event import ROLLBACK, VERDICT
from stream_router.core.routing.applied_split import AppliedSplit, Versions
from stream_router.processes.controller import control

pytestmark = pytest.mark.stack


def windows_of(route, stack):
    return kafka_records(stack.bootstrap_servers, route.topic("windowed-accuracy"))


def test_windows_are_published_though_evidence_never_stops(stack, settings, route):
    stop = threading.Event()

    def write():
        producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "linger.ms": 0})
        while not stop.wait(0.002):
            count = Count(window=0, rollout=0, lane="stable", model_version="v1", predicted=1)
            producer.produce(
                route.topic("evidence"),
                encode_evidence(Evidence(by="test", written_at=0, partition=0, counts=(count,))),
                partition=0,
            )
            producer.poll(0)
        producer.flush(10)

    threads = [
        threading.Thread(target=write),
        threading.Thread(target=control, args=(settings, route, policy_with(), "test", stop)),
    ]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: windows_of(route, stack), 30, "a window")
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def test_an_unreadable_record_is_one_dead_letter_whoever_is_the_controller(stack, settings, route):
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
    producer.produce(route.topic("evidence"), b"not evidence", partition=0)
    assert producer.flush(10) == 0

    def dead_letters():
        return kafka_records(stack.bootstrap_servers, route.topic("dead-letters"))

    def serve(until, what):
        stop = threading.Event()
        thread = threading.Thread(target=control, args=(settings, route, policy_with(), "test", stop))
        thread.start()
        try:
            wait_until(until, 60, what)
        finally:
            stop.set()
            thread.join(30)

    serve(dead_letters, "the dead letter")
    count = Count(window=0, rollout=0, lane="stable", model_version="v1", predicted=1)
    after = Evidence(by="test", written_at=0, partition=0, counts=(count,))
    producer.produce(route.topic("evidence"), encode_evidence(after), partition=0)
    assert producer.flush(10) == 0
    serve(lambda: windows_of(route, stack), "the next controller to go on behind it")
    assert [letter.value for letter in dead_letters()] == [b"not evidence"]


BEHIND = 200_000
QUICK = {"window": 1, "label_horizon": 5, "prediction_deadline": 10, "block_time": 2}
POLICY = policy_with(**QUICK)
SPLIT = AppliedSplit(raw=b'{"stable": 0.5, "canary": 0.5}', canary=0.5, epoch=1, rollout=1, bound=Versions("v1", "v2"))


def outcomes(begun, number, bad):
    """Ten of each lane in the window of that number."""
    window = POLICY.window_start(begun + number * POLICY.window)
    rows = [
        outcome(
            window=window,
            epoch=1,
            digest=SPLIT.digest,
            lane=lane,
            entity=hash((number, lane, n)),
            order=n,
            time=window,
            bad=n < bad[lane],
        )
        for n in range(10)
        for lane in ("stable", "canary")
    ]
    return encode_evidence(flush(0, *rows, watermark=window + POLICY.window))


def evidence_of_an_equal_canary(begun):
    yield encode_evidence(started(1, 0, POLICY))
    weights = {"stable": 0.5, "canary": 0.5}
    control_record = EpochInForce(epoch=1, digest=SPLIT.digest, rollout=1, weights=weights)
    yield encode_evidence(Evidence(by="test", written_at=0, epoch_in_force=control_record))
    for number in range(100):
        yield outcomes(begun, number, {"stable": 2, "canary": 2})
        yield from [encode_evidence(flush(0, watermark=begun))] * (BEHIND // 100)
    for partition in range(4):  # else each owner looks for its positions in all of R.evidence
        yield encode_evidence(flush(partition, positions=Positions(0, 0)))


def write(stack, topic, values):
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "queue.buffering.max.messages": 2 * BEHIND})
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(60) == 0


def how_it_began(command):
    lines = [json.loads(line) for line in command.stderr.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "the controller reads on"]


@pytest.mark.long
def test_a_controller_that_is_killed_is_followed_by_one_that_reads_what_came_after_its_snapshot(
    stack, route, stack_processes, tmp_path
):
    """And says of all the evidence what one fold of it says, bit for bit."""
    environment = variables(tmp_path / "policy.yaml", **QUICK)

    def monitor(worker):
        flags = ("--worker", worker, "--log-format", "json")
        return stack_processes.start("monitor", "--route", route.name, *flags, **environment)

    def read(topic):
        return kafka_records(stack.bootstrap_servers, route.topic(topic))

    begun, evidence = now_ms() - 3_600_000, route.topic("evidence")
    write(stack, route.topic("splits"), [encode_split(SPLIT)])
    write(stack, evidence, evidence_of_an_equal_canary(begun))
    first = monitor("a")
    wait_until(lambda: read("verdict-state"), 120, "a snapshot")
    first.kill()
    write(stack, evidence, [outcomes(begun, 200 + number, {"stable": 2, "canary": 9}) for number in range(20)])
    second = monitor("b")

    def events():
        read_ = [decode_rollout_event(record.value) for record in read("rollout-events")]
        return [one for one in read_ if one.kind in (VERDICT, ROLLBACK)]

    told, event = wait_until(events, 120, "a verdict")
    assert (told.kind, told.evidence_offset, told.numbers) == (VERDICT, event.evidence_offset, event.numbers)
    assert [line["from_snapshot"] for line in how_it_began(first)] == [False]
    (begin,) = how_it_began(second)
    assert begin["from_snapshot"] is True
    assert begin["offset"] > BEHIND
    fold = EvidenceFold(POLICY, 4)
    outputs = [fold.on_record(record.offset, decode_evidence(record.value)) for record in read("evidence")]
    verdicts = [(verdict.offset, verdict.numbers) for output in outputs for verdict in output.verdicts]
    assert verdicts == [(event.evidence_offset, event.numbers)]
