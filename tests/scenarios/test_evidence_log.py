"""Kafka shuts out the former owner of a partition, and its successor finds where to go on."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from conftest import Servers
from support.kafka import kafka_records

from stream_router.adapters.avro.evidence import decode_evidence
from stream_router.adapters.kafka.clients import reader
from stream_router.adapters.kafka.evidence_log import EvidenceLog, ResumePoint
from stream_router.adapters.kafka.producers import Outgoing
from stream_router.core.evidence import Evidence, Positions
from stream_router.core.route import Route
from stream_router.settings import Settings

pytestmark = pytest.mark.stack

PARTITION = 2


@pytest.fixture
def log(settings: Settings, route: Route) -> EvidenceLog:
    return EvidenceLog(settings, route)


@pytest.fixture
def filled(stack: Servers, route: Route) -> None:
    """Ten records in each input partition."""
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
    for topic in (route.topic("predictions"), route.topic("ground-truth")):
        for _ in range(10):
            producer.produce(topic, b"", partition=PARTITION)
    assert producer.flush(10) == 0


def evidence(by: str, positions: Positions, partition: int = PARTITION) -> Evidence:
    return Evidence(by=by, written_at=1, partition=partition, positions=positions)


def test_a_partition_without_evidence_begins_at_the_logs_start(log: EvidenceLog) -> None:
    assert log.resume_point(PARTITION) == ResumePoint(Positions(0, 0), Positions(0, 0), 0)


@pytest.mark.usefixtures("filled")
def test_a_successor_goes_on_where_the_last_flush_ended(log: EvidenceLog) -> None:
    resume = ResumePoint(Positions(8, 7), Positions(3, 2), 1234, 1200, 1300, 1400)
    log.writer(PARTITION).write([evidence("A", resume.positions)], [], resume)
    assert log.resume_point(PARTITION) == resume
    assert log.resume_point(PARTITION + 1).positions == Positions(0, 0)


@pytest.mark.usefixtures("filled")
def test_offsets_that_stay_unstable_hold_up_no_other_partition(
    log: EvidenceLog, stack: Servers, settings: Settings, route: Route
) -> None:
    """A transaction of somebody else's has given an offset of the partition, and does not end."""
    unstable, other = log.inputs(PARTITION), PARTITION + 1
    foreign = Producer({"bootstrap.servers": stack.bootstrap_servers, "transactional.id": f"{route.name}.foreign"})
    foreign.init_transactions(30)
    foreign.begin_transaction()
    given = [TopicPartition(side.topic, PARTITION, 5) for side in unstable]
    foreign.send_offsets_to_transaction(given, reader(settings, route.evidence_group).consumer_group_metadata(), 30)
    writer = log.writer(other)
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(log.resume_point, PARTITION)
        for number in range(3):
            resume = ResumePoint(Positions(number, 0), Positions(0, 0), 0)
            writer.write([evidence("A", resume.positions, other)], [], resume)
        assert not asked.done()
        foreign.commit_transaction(30)
        assert asked.result().positions == Positions(5, 5)


@pytest.mark.usefixtures("filled")
def test_a_predecessor_is_shut_out(log: EvidenceLog, stack: Servers, route: Route) -> None:
    resume_points = [ResumePoint(Positions(number, number), Positions(0, 0), 0) for number in range(4)]
    former = log.writer(PARTITION)
    former.write([evidence("A", resume_points[1].positions)], [], resume_points[1])
    successor = log.writer(PARTITION)
    with pytest.raises(KafkaException):
        former.write(
            [evidence("A", resume_points[2].positions)],
            [Outgoing(route.topic("dead-letters"), b"v", b"k", headers=[])],
            resume_points[2],
        )
    assert log.resume_point(PARTITION) == resume_points[1]
    successor.write(
        [evidence("B", resume_points[3].positions)],
        [Outgoing(route.topic("dead-letters"), b"v", b"k", headers=[("h", b"x")])],
        resume_points[3],
    )
    assert log.resume_point(PARTITION) == resume_points[3]
    records = kafka_records(stack.bootstrap_servers, route.topic("evidence"))
    assert [decode_evidence(record.value).by for record in records] == ["A", "B"]
    dead = kafka_records(stack.bootstrap_servers, route.topic("dead-letters"))
    assert [(record.key, record.value, record.headers) for record in dead] == [(b"k", b"v", [("h", b"x")])]


@pytest.mark.usefixtures("filled")
def test_the_records_know_the_positions_when_the_groups_offsets_are_gone(
    log: EvidenceLog, stack: Servers, route: Route
) -> None:
    resume = ResumePoint(Positions(8, 7), Positions(3, 2), 1234)
    told = replace(evidence("A", Positions(1, 1)), watermark=1234)
    log.writer(PARTITION).write([told, evidence("A", resume.positions)], [], resume)
    log.writer(0).write([evidence("B", Positions(9, 9), partition=0)], [], resume)
    client = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    for future in client.delete_consumer_groups([route.evidence_group]).values():
        future.result()
    assert log.resume_point(PARTITION) == ResumePoint(resume.positions, Positions(0, 0), 1234)


@pytest.mark.usefixtures("filled")
def test_a_resume_point_lies_within_the_log(log: EvidenceLog, stack: Servers, route: Route) -> None:
    resume = ResumePoint(Positions(8, 4), Positions(3, 2), 1234)
    log.writer(PARTITION).write([evidence("A", resume.positions)], [], resume)
    client = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    topics = (route.topic("predictions"), route.topic("ground-truth"))
    for future in client.delete_records([TopicPartition(topic, PARTITION, 5) for topic in topics]).values():
        future.result()
    assert log.resume_point(PARTITION) == ResumePoint(Positions(8, 5), Positions(5, 5), 1234)


def test_a_write_tells_when_the_broker_appended_it(log: EvidenceLog, route: Route, stack: Servers) -> None:
    resume = ResumePoint(Positions(0, 0), Positions(0, 0), 0)
    told = log.writer(PARTITION).write([evidence("A", resume.positions)] * 3, [], resume)
    records = kafka_records(stack.bootstrap_servers, route.topic("evidence"))
    assert told in {record.timestamp for record in records}


def test_a_topic_with_the_times_of_producers_tells_nothing(log: EvidenceLog, stack: Servers, route: Route) -> None:
    client = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    entry = ConfigEntry("message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ResourceType.TOPIC, route.topic("evidence"), incremental_configs=[entry])
    for future in client.incremental_alter_configs([topic]).values():
        future.result()
    resume = ResumePoint(Positions(0, 0), Positions(0, 0), 0)
    assert log.writer(PARTITION).write([evidence("A", resume.positions)], [], resume) is None


@pytest.mark.usefixtures("filled")
def test_the_offsets_of_a_version_before_are_understood(log: EvidenceLog, settings: Settings, route: Route) -> None:
    for said, newest_outcome in (("rebuild=3;tick=1234", 0), ("rebuild=3;tick=1234;outcome=1200", 1200)):
        group = reader(settings, route.evidence_group)
        group.commit(
            offsets=[TopicPartition(side.topic, PARTITION, 8, said) for side in log.inputs(PARTITION)],
            asynchronous=False,
        )
        group.close()
        assert log.resume_point(PARTITION) == ResumePoint(Positions(8, 8), Positions(3, 3), 1234, newest_outcome, 0)
