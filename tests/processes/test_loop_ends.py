"""How the loop ends, and what it bears: a lost identity, failures in a row, a gap."""

import pytest
from confluent_kafka import KafkaError
from support.kafka_script import assigned, event, fails, first, passes
from support.loops import GROUP, SOURCE, run_loop, source_faults
from support.scripted_kafka import ScriptedKafka

from stream_router.errors import FencedError, GapError, StreamRouterError, TopicError

# ruff: noqa: SLF001 - librdkafka's own codes are spelt so

OTHER_PROCESS = r"another live process is instance 'me' of group.*its own --instance"


@pytest.fixture
def filled(monkeypatch):
    """Three records in each of two partitions."""
    kafka = ScriptedKafka(monkeypatch)
    kafka.fill(SOURCE, b"a0", b"a1", b"a2", partition=0)
    kafka.fill(SOURCE, b"b0", b"b1", b"b2", partition=1)
    return kafka


FENCED = [
    fails(KafkaError._FENCED),
    fails(KafkaError.PRODUCER_FENCED),
    fails(KafkaError.INVALID_PRODUCER_EPOCH),
    fails(KafkaError.FENCED_INSTANCE_ID),
    fails(KafkaError._FENCED, fatal=True),
]


@pytest.mark.parametrize("call", ["begin_transaction", "produce", "send_offsets_to_transaction", "commit_transaction"])
@pytest.mark.parametrize("fenced", FENCED)
def test_a_lost_identity_ends_the_loop_and_says_what_to_do(filled, call, fenced):
    filled.script("consume", first(assigned(0, 1)))
    filled.script(call, passes, fenced)
    filled.script("abort_transaction", fails(KafkaError._FENCED, fatal=True))
    with pytest.raises(FencedError, match=OTHER_PROCESS) as ended:
        run_loop(filled, max_batch=3)
    assert ended.value.restart_mends
    assert set(filled.values("out")) <= {b"a0", b"a1", b"a2"}, "of what came after nothing is committed"


def test_a_second_live_process_of_our_name_is_told_by_an_event_of_the_consumer(filled):
    filled.script("consume", first(assigned(0, 1)), event(KafkaError.FENCED_INSTANCE_ID, fatal=True))
    with pytest.raises(FencedError):
        run_loop(filled)


def test_a_successor_shuts_us_out_and_goes_on_where_we_committed(filled):
    """The model of the broker fences: the loop of the same name that comes second."""

    def successor(_client, _call):
        filled.script("consume", first(assigned(0, 1)))
        run_loop(filled)
        return []

    filled.script("consume", first(assigned(0, 1)), passes, successor)
    with pytest.raises(FencedError):
        run_loop(filled, max_batch=2, interval=3_600)
    assert source_faults(filled) == []


@pytest.mark.parametrize(("failures", "ends"), [(10, False), (11, True)])
def test_ten_failures_in_a_row_are_borne_and_the_eleventh_ends_the_loop(filled, failures, ends):
    filled.script("consume", first(assigned(0, 1)))
    filled.script("commit_transaction", *[fails(KafkaError._INCONSISTENT)] * failures)
    if ends:
        with pytest.raises(StreamRouterError, match="_INCONSISTENT"):
            run_loop(filled)
        assert filled.values("out") == []
    else:
        run_loop(filled)
        assert source_faults(filled) == []


def test_a_commit_that_succeeds_ends_the_row_of_failures(filled):
    filled.script("consume", first(assigned(0, 1)))
    filled.script("commit_transaction", *([fails(KafkaError._INCONSISTENT)] * 10 + [passes]) * 2)
    run_loop(filled, max_batch=3)
    assert filled.played("commit_transaction")
    assert source_faults(filled) == []


@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction"])
def test_what_may_be_tried_again_is_tried_again_within_the_transaction(filled, call):
    filled.script("consume", first(assigned(0, 1)))
    filled.script(call, *[fails(KafkaError._TIMED_OUT, retriable=True)] * 9)
    run_loop(filled)
    assert filled.calls.count(call) == 10
    assert filled.calls.count("begin_transaction") == 1
    assert source_faults(filled) == []


def test_records_deleted_before_they_were_read_end_the_loop_and_it_says_what_to_do(filled):
    filled.script("consume", first(assigned(0, 1)))
    run_loop(filled, max_batch=2)
    filled.fill(SOURCE, b"a3", b"a4", partition=0)
    filled.starts[SOURCE, 0] = 4
    filled.script("consume", first(assigned(0, 1)))
    with pytest.raises(GapError, match=f"group {GROUP} stopped at a gap.*kafka-consumer-groups") as ended:
        run_loop(filled)
    assert not ended.value.restart_mends
    assert b"a4" not in filled.values("out")


@pytest.mark.parametrize("code", [KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE])
def test_a_gap_in_the_middle_of_a_transaction_commits_nothing_of_it(filled, code):
    filled.script("consume", first(assigned(0, 1)), event(code))
    with pytest.raises(GapError):
        run_loop(filled, max_batch=2, interval=3_600)
    assert filled.values("out") == []


def test_a_missing_topic_says_how_it_is_made(filled):
    filled.script("consume", event(KafkaError.UNKNOWN_TOPIC_OR_PART))
    with pytest.raises(TopicError, match="stream-router topics apply") as ended:
        run_loop(filled)
    assert not ended.value.restart_mends


PASSING = [KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE]


@pytest.mark.parametrize("code", PASSING)
def test_errors_that_pass_are_only_logged(filled, code):
    filled.script("consume", first(assigned(0, 1)), event(code), event(code))
    run_loop(filled, max_batch=2)
    assert source_faults(filled) == []
    assert "abort_transaction" not in filled.calls
