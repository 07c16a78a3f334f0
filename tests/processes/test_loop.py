"""The loop of routers and scoring jobs without a broker: whatever is interrupted, each record is handled once."""

from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, TopicPartition
from support.kafka_script import (
    assigned,
    brings_nothing,
    fails,
    first,
    lost,
    meanwhile,
    passes,
    revoked,
)
from support.loops import GROUP, SOURCE, Copy, loop_config, run_loop, source_faults
from support.scripted_kafka import ScriptedKafka

from stream_router.adapters.kafka import loop as loop_module
from stream_router.adapters.kafka.loop import TransactionLoop
from stream_router.errors import StreamRouterError
from stream_router.settings import Settings

# ruff: noqa: SLF001 - librdkafka's own codes are spelt so


@pytest.fixture
def kafka(monkeypatch):
    return ScriptedKafka(monkeypatch)


@pytest.fixture
def filled(kafka):
    """Three records in each of two partitions."""
    kafka.fill(SOURCE, b"a0", b"a1", b"a2", partition=0)
    kafka.fill(SOURCE, b"b0", b"b1", b"b2", partition=1)
    return kafka


def test_every_record_is_handled_and_its_offset_committed_with_it(filled):
    filled.script("consume", first(assigned(0, 1)))
    handler = run_loop(filled)
    assert source_faults(filled) == []
    assert handler.done == 6
    assert filled.offset(GROUP, SOURCE, 0) == filled.offset(GROUP, SOURCE, 1) == 3


def test_a_transaction_stays_open_for_the_interval_over_several_batches(filled, monkeypatch):
    now = 0.0

    def later(_client, call):
        nonlocal now
        now += 0.5
        return call()

    monkeypatch.setattr(loop_module, "time", SimpleNamespace(monotonic=lambda: now))
    filled.script("consume", first(assigned(0, 1)), later, later)
    run_loop(filled, max_batch=2, interval=1.0)
    assert filled.calls.count("commit_transaction") == 1
    assert source_faults(filled) == []


def test_a_loop_with_a_limit_ends_with_exactly_so_many_records(filled):
    filled.script("consume", first(assigned(0, 1)))
    assert run_loop(filled, max_batch=3, limit=4).done == 4
    assert filled.values("out") == [b"a0", b"a1", b"a2", b"b0"]
    assert (filled.offset(GROUP, SOURCE, 0), filled.offset(GROUP, SOURCE, 1)) == (3, 1)


def test_an_undone_transaction_does_not_count_towards_the_limit(filled):
    filled.script("consume", first(assigned(0, 1)))
    filled.script("commit_transaction", passes, fails(KafkaError._INCONSISTENT))
    assert run_loop(filled, max_batch=3, limit=5).done == 5
    assert len(filled.values("out")) == 5


def test_a_transaction_is_one_batch_where_the_loop_keeps_up(filled):
    filled.script("consume", first(assigned(0, 1)))
    run_loop(filled, max_batch=7, interval=3_600)
    assert filled.calls.count("commit_transaction") == 1
    assert source_faults(filled) == []


def test_what_is_open_when_the_loop_is_told_to_stop_is_committed(filled):
    filled.script("consume", first(assigned(0, 1)))
    loop = TransactionLoop(Settings(), loop_config(max_batch=6, interval=3_600), Copy())
    loop.run(lambda: filled.calls.count("produce") == 6)
    assert source_faults(filled) == []


CALLS_THAT_FAIL = [
    ("begin_transaction", fails(KafkaError._STATE)),
    ("produce", fails(KafkaError._MSG_TIMED_OUT)),
    ("flush", fails(KafkaError._TIMED_OUT)),
    ("send_offsets_to_transaction", fails(KafkaError.UNKNOWN_MEMBER_ID)),
    ("commit_transaction", fails(KafkaError._INCONSISTENT)),
]


@pytest.mark.parametrize(("call", "failure"), CALLS_THAT_FAIL, ids=[call for call, _ in CALLS_THAT_FAIL])
def test_records_of_an_aborted_transaction_are_read_again(filled, call, failure):
    """Whichever call fails, in the second transaction: what the first committed stays as it is."""
    times = {"produce": 4}.get(call, 1)  # in the middle of the second batch
    filled.script(call, *[passes] * times, failure)
    filled.script("consume", first(assigned(0, 1)))
    handler = run_loop(filled, max_batch=3)
    assert filled.played(call)
    assert source_faults(filled) == []
    assert handler.done == 6


def test_a_revocation_in_the_middle_of_a_transaction_commits_what_was_done(filled):
    filled.script("consume", first(assigned(0, 1)), first(revoked(0, 1)))
    handler = run_loop(filled, max_batch=4, interval=3_600)
    assert filled.values("out") == [b"a0", b"a1", b"a2", b"b0"]
    assert (filled.offset(GROUP, SOURCE, 0), filled.offset(GROUP, SOURCE, 1)) == (3, 1)
    assert handler.done == 4


def test_records_of_a_revoked_partition_that_still_waited_are_left_alone(filled):
    filled.script("consume", first(assigned(0, 1)), brings_nothing, meanwhile(revoked(0)))
    run_loop(filled, max_batch=2)
    assert filled.values("out") == [b"a0", b"a1", b"b0", b"b1", b"b2"]
    assert filled.offset(GROUP, SOURCE, 0) == 2, "a2 is the next owner's"


def test_records_of_a_revoked_partition_are_left_alone_also_in_a_later_poll(filled):
    """Librdkafka purges them; if it ever does not, they are still not ours."""
    waiting = filled.records(SOURCE)[2:3]
    filled.script("consume", first(assigned(0, 1)), meanwhile(revoked(0)), lambda _client, call: [*waiting, *call()])
    run_loop(filled, max_batch=2)
    assert b"a2" not in filled.values("out")
    assert filled.offset(GROUP, SOURCE, 0) == 2


def test_a_partition_that_comes_back_is_read_on_from_the_groups_offset(filled):
    filled.script("consume", first(assigned(0, 1)), meanwhile(revoked(0)), first(assigned(0)))
    run_loop(filled, max_batch=2)
    assert source_faults(filled) == []


def test_partitions_that_were_lost_undo_the_transaction(filled):
    filled.script("consume", first(assigned(0, 1)), first(lost(0, 1)))
    handler = run_loop(filled, max_batch=6, interval=3_600)
    assert filled.values("out") == []
    assert filled.offsets == {}
    assert handler.done == 0


@pytest.mark.parametrize("when", [first, meanwhile])
def test_partitions_lost_and_given_back_in_one_poll_are_read_again_from_the_groups_offset(filled, when):
    """`meanwhile`: records behind the undone transaction had been fetched, and must not be taken for the next."""
    filled.script("consume", first(assigned(0, 1)), when(lost(0, 1), assigned(0, 1)))
    run_loop(filled, max_batch=2, interval=3_600)
    assert source_faults(filled) == []


@pytest.mark.parametrize("when", [first, meanwhile])
def test_a_partition_revoked_and_given_back_in_one_poll_is_not_read_twice(filled, when):
    filled.script("consume", first(assigned(0, 1)), when(revoked(0), assigned(0)))
    handler = run_loop(filled, max_batch=2)
    assert source_faults(filled) == []
    assert handler.done == 6


@pytest.mark.parametrize("when", [first, meanwhile])
def test_a_batch_is_dropped_where_a_rebalance_during_its_poll_undid_the_transaction(filled, when):
    filled.script("consume", first(assigned(0, 1)), when(revoked(1), assigned(1)))
    filled.script("commit_transaction", fails(KafkaError._INCONSISTENT))
    run_loop(filled, max_batch=2, interval=3_600)
    assert filled.played("commit_transaction")
    assert source_faults(filled) == []


def test_an_error_in_a_callback_of_the_group_reaches_the_caller(filled):
    filled.script("consume", first(assigned(0, 1)))
    filled.script("committed", fails(KafkaError.GROUP_AUTHORIZATION_FAILED, fatal=True))
    with pytest.raises(StreamRouterError, match="GROUP_AUTHORIZATION_FAILED"):
        run_loop(filled)
    assert filled.values("out") == []


def test_from_latest_is_decided_once_and_committed_before_any_record_comes(filled):
    filled.script("consume", first(assigned(0, 1)))
    run_loop(filled, start="latest")
    assert filled.values("out") == []
    assert (filled.offset(GROUP, SOURCE, 0), filled.offset(GROUP, SOURCE, 1)) == (3, 3)


def test_from_latest_does_not_step_over_what_came_while_its_first_commit_failed(filled):
    def failing_while_a_record_comes(client, call):
        filled.fill(SOURCE, b"a3", partition=0)
        return fails(KafkaError._INCONSISTENT)(client, call)

    filled.script("consume", first(assigned(0, 1)), passes)
    filled.script("commit_transaction", failing_while_a_record_comes)
    run_loop(filled, start="latest")
    assert filled.values("out") == [b"a3"]
    assert filled.offset(GROUP, SOURCE, 0) == 4


def test_from_latest_is_committed_with_the_transaction_that_is_open_when_the_partition_comes(filled):
    filled.script("consume", first(assigned(0)), brings_nothing, first(assigned(1)), passes)
    filled.offsets[GROUP, SOURCE, 0] = TopicPartition(SOURCE, 0, 0)
    run_loop(filled, start="latest", interval=3_600)
    assert filled.values("out") == [b"a0", b"a1", b"a2"]
    assert filled.offset(GROUP, SOURCE, 1) == 3


def test_a_start_that_was_not_committed_before_its_partition_went_is_not_committed_any_more(filled):
    filled.script("consume", first(assigned(0, 1), revoked(1)), passes)
    run_loop(filled, start="latest")
    assert filled.offset(GROUP, SOURCE, 0) == 3
    assert filled.offset(GROUP, SOURCE, 1) is None, "it would overwrite the next owner's"


def test_partitions_that_come_while_the_loop_leaves_its_group_are_not_taken(filled):
    filled.script("consume", first(assigned(0)))
    filled.script("close", first(assigned(1)))
    run_loop(filled)
    assert filled.calls.count("incremental_assign") == 1


def test_from_a_time_begins_at_the_first_record_that_is_not_older(filled):
    filled.fill(SOURCE, b"a3", partition=0, timestamp=(1, 2_000))
    filled.script("consume", first(assigned(0, 1)))
    run_loop(filled, start=1_500)
    assert filled.values("out") == [b"a3"]


@pytest.mark.parametrize("answer", ["lost", "given"])
def test_at_least_once_commits_offsets_only_after_all_is_acknowledged(filled, answer):
    def undelivered(_client, _call):
        return 3

    filled.script("consume", first(assigned(0, 1)))
    if answer == "lost":
        filled.script("flush", undelivered)
    run_loop(filled, delivery="at-least-once")
    assert filled.calls.index("flush") < filled.calls.index("commit")
    assert filled.calls.count("commit") == 1
    assert set(filled.values("out")) == set(filled.values(SOURCE))


def test_at_least_once_reads_records_again_whose_delivery_failed(filled):
    def refused(client, call):
        client.config["on_delivery"](KafkaError(KafkaError._MSG_TIMED_OUT), None)
        client.forget()
        return call()

    filled.script("consume", first(assigned(0, 1)))
    filled.script("flush", refused)
    handler = run_loop(filled, delivery="at-least-once")
    assert set(filled.values("out")) == set(filled.values(SOURCE))
    assert handler.done == 6
