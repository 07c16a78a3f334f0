"""`stream-router verdicts` and `backtest` on real topics: what was decided can be recomputed, and tried otherwise."""

import json
import threading
from dataclasses import replace

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from support.evidence import POLICY, Simulation
from support.kafka import kafka_records
from support.waiting import wait_until

from stream_router.adapters.avro.evidence import encode_evidence
from stream_router.adapters.avro.records import decode_rollout_event, encode_rollout_event, encode_split
from stream_router.adapters.clock import now_ms
from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.rollout.rollout_event import ROLLBACK, VERDICT
from stream_router.core.routing.applied_split import AppliedSplit, Versions
from stream_router.processes.controller import control

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(240)]

RECORDS = Simulation(seed=3, seconds=60, a_second=40, error={"stable": 0.1, "canary": 0.4}).records()


@pytest.fixture
def write(stack, route):
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})

    def written(topic, *values):
        for value in values:
            producer.produce(route.topic(topic), value, partition=0)
        assert producer.flush(30) == 0

    return written


@pytest.fixture
def events(stack, route, settings, write):
    """What a controller wrote about the evidence of a bad canary."""
    split = AppliedSplit(
        raw=b'{"stable": 0.7, "canary": 0.3}', canary=0.3, epoch=1, rollout=1, bound=Versions("v1", "v2"), time=now_ms()
    )
    write("splits", encode_split(split))
    write("evidence", *map(encode_evidence, RECORDS))
    stop = threading.Event()
    thread = threading.Thread(target=control, args=(settings, route, POLICY, "test", stop))
    thread.start()

    def read():
        records = kafka_records(stack.bootstrap_servers, route.topic("rollout-events"))
        told = [decode_rollout_event(record.value) for record in records]
        return [event for event in told if event.kind in (VERDICT, ROLLBACK)]

    try:
        wait_until(read, 90, "the verdict")
    finally:
        stop.set()
        thread.join(30)
    return read()


def test_what_was_decided_is_recomputed_bit_for_bit_and_another_policy_tried(
    stack, route, events, write, stack_processes, tmp_path
):
    def run(*arguments):
        command = stack_processes.run(arguments[0], "--route", route.name, *arguments[1:], "--output", "json")
        return command.wait(), command.stdout and json.loads(command.stdout), command.stderr

    told, rollback = events
    fold = EvidenceFold(POLICY, 4)
    (verdict,) = [one for n, record in enumerate(RECORDS) for one in fold.on_record(n, record).verdicts]
    assert (told.kind, rollback.kind) == ("verdict", "rollback")
    assert (told.evidence_offset, told.numbers, told.policy_digest) == (verdict.offset, verdict.numbers, POLICY.digest)

    code, shown, _ = run("verdicts", "--replay")
    assert (code, shown["rollout"], shown["replay"]["agrees"], shown["replay"]["lacking"]) == (0, 1, True, [])
    (one,) = shown["verdicts"]
    assert (one["metric"], one["verdict"], one["agrees"]) == ("accuracy", "unhealthy", True)
    assert one["numbers"]["e_value"] == one["numbers"]["threshold"]
    low, high = one["odds_ratio"]
    assert 1 <= low < 6 < high

    def tried(text):
        (tmp_path / "policy.yaml").write_text(text)
        return run("backtest", "--policy", str(tmp_path / "policy.yaml"))

    code, shown, _ = tried("alpha: 1e-6")
    (rollout,) = shown["rollouts"]
    assert (code, rollout["changes"]) == (0, [{"name": "alpha", "recorded": 0.05, "other": 1e-6}])
    (one,) = rollout["verdicts"]
    assert one["decided"]["offset"] == told.evidence_offset
    assert one["would_decide"] is None or one["would_decide"]["offset"] > told.evidence_offset
    code, _, said = tried("window: 7")
    assert (code, "window is a setting of the route" in said) == (2, True)

    numbers = replace(told.numbers, e_value=told.numbers.e_value + 1)
    forged = replace(told, metric="error_rate", evidence_offset=9, numbers=numbers)
    write("rollout-events", encode_rollout_event(forged))
    code, shown, said = run("verdicts", "--replay")
    assert (code, shown["replay"]["agrees"], "1 other verdicts" in said) == (7, False, True)
    assert [one["differs"] for one in shown["verdicts"]] == [None, "the replay does not find it"]

    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    for answer in admin.delete_records([TopicPartition(route.topic("evidence"), 0, 5)]).values():
        answer.result()
    code, _, said = run("verdicts", "--replay")
    assert (code, "no longer holds the beginning of rollout 1" in said) == (1, True)
    assert run("verdicts")[0] == 0
