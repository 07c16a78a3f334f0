"""When a batch job has come to the end of its lane."""

from contextlib import closing

import pytest
from confluent_kafka import KafkaError, TopicPartition
from support.kafka_script import fails
from support.scripted_kafka import ScriptedKafka

from stream_router.adapters.kafka.drained import Drained
from stream_router.errors import TopicError
from stream_router.settings import Settings

TOPIC, GROUP = "lane", "group"


@pytest.fixture
def lane(monkeypatch) -> ScriptedKafka:
    """Two partitions: three records and a transaction's marker, and nothing but a marker."""
    kafka = ScriptedKafka(monkeypatch)
    kafka.fill(TOPIC, b"0", b"1", b"2")
    kafka.append((TOPIC, 0), None)
    kafka.append((TOPIC, 1), None)
    return kafka


def drained(kafka: ScriptedKafka, *committed: int) -> bool:
    kafka.offsets |= {(GROUP, TOPIC, n): TopicPartition(TOPIC, n, offset) for n, offset in enumerate(committed)}
    with closing(Drained(Settings(), TOPIC, GROUP, {0: 4, 1: 1})) as group:
        return group(0.0)


def test_a_marker_behind_the_last_record_is_not_waited_for(lane):
    assert drained(lane, 3, 0)


def test_a_record_that_is_not_committed_is_waited_for(lane):
    assert not drained(lane, 2, 0)


def test_a_partition_that_nobody_has_begun_is_waited_for(lane):
    assert not drained(lane, 3)


def test_what_came_later_than_the_job_is_not_waited_for(lane):
    lane.fill(TOPIC, b"later", b"still later")
    assert drained(lane, 3, 0)


def test_it_looks_now_and_then_and_remembers_the_end(lane):
    lane.offsets |= {(GROUP, TOPIC, n): TopicPartition(TOPIC, n, offset) for n, offset in enumerate((2, 0))}
    with closing(Drained(Settings(), TOPIC, GROUP, {0: 4, 1: 1})) as group:
        assert not group(0.0)
        lane.offsets[GROUP, TOPIC, 0] = TopicPartition(TOPIC, 0, 3)
        assert [group(0.1), group(0.6), group(0.7)] == [False, True, True]
    assert lane.calls.count("committed") == 2


def test_brokers_that_do_not_answer_are_waited_for(lane):
    lane.script("committed", fails(KafkaError._TRANSPORT))  # noqa: SLF001 - librdkafka's own code is spelt so
    assert not drained(lane, 3, 0)


def test_a_topic_that_is_gone_is_an_error_of_ours(lane):
    lane.script("committed", fails(KafkaError.UNKNOWN_TOPIC_OR_PART))
    with pytest.raises(TopicError, match="offsets of group group"):
        drained(lane, 3, 0)
