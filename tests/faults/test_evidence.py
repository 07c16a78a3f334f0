"""The evidence equals a recount of the topics, whatever happens to monitors."""

from collections import Counter

import pytest
from confluent_kafka import TopicPartition
from conftest import Servers
from support.evidence_feed import Feed
from support.kafka import kafka_records
from support.processes import Processes
from support.recount import recount, said
from support.waiting import wait_until

from stream_router.adapters.avro.evidence import decode_evidence
from stream_router.adapters.avro.labels import decode_label
from stream_router.adapters.avro.records import decode_prediction
from stream_router.adapters.kafka.clients import reader, stable_ends
from stream_router.core.dead_letter import REASON_HEADER
from stream_router.core.evidence import ACCURACY, ERROR, LABELLING, LATENCY, MODEL_LATENCY, PREDICTION, Evidence
from stream_router.core.policy import Policy
from stream_router.core.route import Route
from stream_router.errors import DecodeError
from stream_router.settings import Settings

pytestmark = pytest.mark.stack

POLICY = Policy(window=5_000, label_horizon=120_000, prediction_deadline=600_000)


ENVIRONMENT = {
    "STREAM_ROUTER_ROUTE__WINDOW": "5",
    "STREAM_ROUTER_ROUTE__LABEL_HORIZON": "120",
    "STREAM_ROUTER_ROUTE__PREDICTION_DEADLINE": "600",
}


def evidence_of(stack: Servers, route: Route) -> list[Evidence]:
    return [decode_evidence(record.value) for record in kafka_records(stack.bootstrap_servers, route.topic("evidence"))]


def writers(stack: Servers, route: Route) -> set[str]:
    """Monitors that have had a partition: where nothing else comes, a watermark does."""
    return {evidence.by for evidence in evidence_of(stack, route) if evidence.partition is not None}


def inputs_read(settings: Settings, route: Route, partitions: int) -> bool:
    """Whether the positions behind the evidence have reached the ends of both inputs."""
    client = reader(settings, route.evidence_group)
    try:
        for topic in (route.topic("predictions"), route.topic("ground-truth")):
            ends = stable_ends(settings, topic, partitions)
            committed = client.committed([TopicPartition(topic, partition) for partition in range(partitions)], 10)
            if any(found.offset < ends[found.partition] for found in committed):
                return False
    finally:
        client.close()
    return True


@pytest.mark.long
def test_evidence_equals_a_recount_although_a_monitor_is_killed(
    stack: Servers, settings: Settings, route: Route, partitions: int, stack_processes: Processes
) -> None:
    killed = stack_processes.start("monitor", "--route", route.name, "--worker", "A", **ENVIRONMENT)
    stack_processes.start("monitor", "--route", route.name, "--worker", "B", **ENVIRONMENT)
    wait_until(lambda: writers(stack, route) == {"A", "B"}, 90, "both to take part", poll=0.5)
    feed = Feed(stack.bootstrap_servers, route, POLICY, requests=12_000, rate=800, seed=1)
    feed.start()
    wait_until(
        lambda: {e.by for e in evidence_of(stack, route) if e.outcomes} == {"A", "B"}, 90, "both write", poll=0.5
    )
    killed.kill()
    last = stack_processes.start("monitor", "--route", route.name, "--worker", "C", **ENVIRONMENT)
    wait_until(lambda: "C" in writers(stack, route), 90, "the third to take part", poll=0.5)
    feed.released.set()
    feed.join(60)
    assert not feed.is_alive()
    wait_until(lambda: inputs_read(settings, route, partitions), 60, "all inputs read", poll=0.5)

    predictions, labels, unreadable = [], [], []
    for record in kafka_records(stack.bootstrap_servers, route.topic("predictions")):
        try:
            predictions.append(decode_prediction(record.value))
        except DecodeError:
            unreadable.append(record)
    for record in kafka_records(stack.bootstrap_servers, route.topic("ground-truth")):
        try:
            labels.append(decode_label(record.value, record.timestamp, record.offset))
        except DecodeError:
            unreadable.append(record)
    evidence = evidence_of(stack, route)
    expected, found = recount(predictions, labels, POLICY), said(evidence)
    assert found.without(LABELLING) == expected.without(LABELLING)
    matured = [outcome for outcome in found.outcomes if outcome.metric == LABELLING]
    assert len(matured) == len(set(matured))
    assert set(matured) <= set(expected.outcomes), "as far as watermarks have come"
    kinds = Counter(outcome.metric for outcome in expected.outcomes)
    assert kinds[ACCURACY] > 8_000
    assert min(kinds[kind] for kind in (ERROR, PREDICTION, LATENCY, MODEL_LATENCY)) > 8_000
    assert sum(expected.bad_delays.values()) > 100
    assert sum(row[4] for row in expected.counts.values()) > 100, "revisions"
    assert sum(row[5] for row in expected.counts.values()) > 100, "late"
    assert {record.by for record in evidence if record.outcomes} == {"A", "B", "C"}

    dead = kafka_records(stack.bootstrap_servers, route.topic("dead-letters"))
    assert sorted((record.key, record.value) for record in dead) == sorted((r.key, r.value) for r in unreadable)
    assert len(unreadable) == len(feed.unreadable) > 0
    for record in dead:
        headers = dict(record.headers)
        assert headers["__connect.errors.topic"] in {
            route.topic("predictions").encode(),
            route.topic("ground-truth").encode(),
        }
        assert headers[REASON_HEADER]
    for partition in range(partitions):
        watermarks = [
            record.watermark for record in evidence if record.partition == partition and record.watermark is not None
        ]
        assert watermarks == sorted(watermarks)
        assert watermarks
    assert last.terminate() == 0
