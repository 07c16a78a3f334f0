"""A loop while Kafka is away: it waits, gives up what hangs, and takes back what it lost, once an outage."""

import pytest
from confluent_kafka import KafkaError
from support.hang import Hang
from support.kafka_script import assigned, event, event_of, fails, first, lost, passes
from support.loops import GROUP, SOURCE, Copy, loop_config, run_loop, run_until_copied, source_faults
from support.scripted_kafka import ScriptedKafka, kafka_error

from stream_router.adapters.health import ASSIGNMENT, KAFKA, Health
from stream_router.adapters.kafka.loop import TransactionLoop
from stream_router.errors import FencedError
from stream_router.settings import Settings

# ruff: noqa: SLF001 - librdkafka's own codes are spelt so

MANY = 25
"""More than the failures in a row that are borne."""


@pytest.fixture
def filled(monkeypatch):
    """Three records in each of two partitions."""
    kafka = ScriptedKafka(monkeypatch)
    kafka.fill(SOURCE, b"a0", b"a1", b"a2", partition=0)
    kafka.fill(SOURCE, b"b0", b"b1", b"b2", partition=1)
    return kafka


def told():
    """What a loop says of Kafka at the begin and at the end of an outage."""
    heard = []

    class Listener(Health):
        def kafka(self, away):
            heard.append(away)

    loop = TransactionLoop(Settings(), loop_config(), Copy(), Listener("copying", {}))
    loop.run(lambda: len(heard) > 1)
    return heard


def brokers_down(client, call):
    client.config["error_cb"](kafka_error(KafkaError._ALL_BROKERS_DOWN))
    return call()


MENDED = [
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._WAIT_COORD,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.KAFKA_STORAGE_ERROR,
]


@pytest.mark.parametrize("code", MENDED)
@pytest.mark.parametrize(
    "call",
    [
        "init_transactions",
        "committed",
        "get_watermark_offsets",
        "begin_transaction",
        "produce",
        "flush",
        "send_offsets_to_transaction",
        "commit_transaction",
        "abort_transaction",
    ],
)
def test_an_outage_is_waited_for_whatever_call_meets_it(filled, call, code):
    filled.script("consume", first(assigned(0, 1)))
    if call == "abort_transaction":
        filled.script("commit_transaction", *[fails(code)] * MANY)
    filled.script(call, *[fails(code)] * MANY)
    handler = run_until_copied(filled)
    assert filled.played(call)
    assert handler.done == 6


@pytest.mark.parametrize("code", MENDED)
def test_an_outage_told_by_the_consumer_undoes_nothing(filled, code):
    filled.script("consume", first(assigned(0, 1)), *[event(code)] * MANY)
    run_loop(filled, max_batch=2)
    assert source_faults(filled) == []
    assert "abort_transaction" not in filled.calls


def test_nobody_joins_before_a_predecessor_is_shut_out(filled):
    filled.script("init_transactions", *[fails(KafkaError._TIMED_OUT, retriable=True)] * 3)
    filled.script("consume", first(assigned(0, 1)))
    run_loop(filled)
    assert filled.calls.count("init_transactions") == 4
    assert filled.calls.index("committed") > max(at for at, call in enumerate(filled.calls) if call.startswith("init"))


@pytest.mark.parametrize("call", ["flush", "send_offsets_to_transaction", "commit_transaction"])
def test_a_commit_that_hangs_is_given_up_and_can_commit_nothing_any_more(filled, monkeypatch, call):
    hang = Hang(monkeypatch)
    filled.script("consume", first(assigned(0, 1)))
    filled.script(call, passes, hang.step)
    handler = run_loop(filled, max_batch=2)
    assert source_faults(filled) == []
    hang.release()
    assert hang.returned.wait(60)
    assert source_faults(filled) == []
    assert handler.done == 6


def test_a_commit_whose_answer_never_comes_is_not_done_twice(filled, monkeypatch):
    hang = Hang(monkeypatch)

    def done_and_hangs(client, call):
        call()
        return hang.step(client, lambda: None)

    filled.script("consume", first(assigned(0, 1)))
    filled.script("commit_transaction", passes, done_and_hangs)
    run_loop(filled, max_batch=2)
    assert source_faults(filled) == []
    hang.release()


@pytest.mark.parametrize("call", ["init_transactions", "abort_transaction"])
def test_a_takeover_or_an_abort_that_hangs_is_given_up(filled, monkeypatch, call):
    hang = Hang(monkeypatch)
    filled.script("consume", first(assigned(0, 1)))
    filled.script("commit_transaction", fails(KafkaError._INCONSISTENT))
    filled.script(call, hang.step)
    run_loop(filled, max_batch=2)
    assert filled.played(call)
    assert source_faults(filled) == []
    hang.release()


PRODUCER_LOST = [KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH]


@pytest.mark.parametrize("code", PRODUCER_LOST)
@pytest.mark.parametrize("call", ["begin_transaction", "produce", "send_offsets_to_transaction", "commit_transaction"])
def test_an_identity_that_an_outage_has_cost_is_taken_back_once(filled, call, code):
    filled.script("consume", brokers_down, first(assigned(0, 1)))
    filled.script(call, passes, fails(code, fatal=True))
    handler = run_loop(filled, max_batch=2)
    assert filled.played(call)
    assert source_faults(filled) == []
    assert handler.done == 6


def test_a_namesake_that_came_in_the_outage_is_shut_out_once_and_then_has_it(filled):
    """Each of two that take their place back stops at the next fence: they do not shut each other out for ever."""
    filled.script("consume", brokers_down, first(assigned(0, 1)))
    filled.script("produce", passes, *[fails(KafkaError._FENCED, fatal=True)] * 2)
    with pytest.raises(FencedError):
        run_loop(filled, max_batch=1)


STATIC_FENCED = [
    kafka_error(KafkaError.FENCED_INSTANCE_ID),
    KafkaError(KafkaError._FATAL, "Fatal error: Static consumer fenced by other consumer with same group.instance.id"),
]
"""Librdkafka's events tell it in the second way."""


@pytest.mark.parametrize("error", STATIC_FENCED, ids=["code", "text"])
def test_a_membership_that_an_outage_has_cost_is_begun_anew_once(filled, error):
    fenced = event_of(error)
    filled.script("consume", brokers_down, first(assigned(0, 1)), passes, fenced, first(assigned(0, 1)), fenced)
    with pytest.raises(FencedError, match="--instance"):
        run_loop(filled, max_batch=1)
    assert filled.calls.count("incremental_assign") == 2
    assert filled.values("out")[:2] == [b"a0", b"a1"]


@pytest.mark.parametrize("error", STATIC_FENCED, ids=["code", "text"])
def test_a_namesake_is_told_where_nothing_excuses_it(filled, error):
    filled.script("consume", first(assigned(0, 1)), event_of(error))
    with pytest.raises(FencedError, match="another live process is instance 'me'"):
        run_loop(filled)


def test_where_the_offsets_cannot_be_asked_for_nothing_is_handled_until_they_are_known(filled):
    filled.script("consume", first(assigned(0, 1)))
    run_loop(filled, max_batch=2)
    filled.fill(SOURCE, b"a3", partition=0)
    filled.script("consume", first(assigned(0, 1)))
    filled.script("committed", *[fails(KafkaError._TIMED_OUT)] * MANY)
    assert run_until_copied(filled).done == 1


@pytest.mark.parametrize("failure", [fails(KafkaError._INCONSISTENT), fails(KafkaError._TIMED_OUT)])
def test_offsets_that_cannot_be_asked_for_undo_the_transaction_that_is_open(filled, failure):
    """All partitions are read again then: what stands in it would be written twice."""
    filled.script("consume", first(assigned(0)), first(assigned(1)))
    filled.script("committed", passes, failure)
    assert run_until_copied(filled, max_batch=3, interval=3_600).done == 6
    assert filled.played("committed")


EXPELLED = [KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS]


@pytest.mark.parametrize("code", EXPELLED)
@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction", "committed"])
def test_a_member_that_its_group_has_gone_on_without_reads_again_however_long_it_takes(filled, call, code):
    filled.script("consume", first(assigned(0, 1)))
    filled.script(call, *[fails(code)] * MANY)
    assert run_until_copied(filled).done == 6
    assert filled.played(call)


@pytest.mark.parametrize("code", EXPELLED)
def test_what_a_member_held_that_was_expelled_is_written_once_by_whom_it_belongs_to_then(filled, code):
    filled.script("consume", first(assigned(0, 1)), first(lost(0, 1)), first(assigned(0, 1)))
    filled.script("send_offsets_to_transaction", fails(code))
    assert run_until_copied(filled, max_batch=2).done == 6


def test_an_outage_is_told_once_and_over_with_the_next_commit(filled):
    filled.script("consume", first(assigned(0, 1)))
    filled.script("commit_transaction", *[fails(KafkaError._TRANSPORT)] * 3)
    began, over = told()
    assert "_TRANSPORT" in began
    assert over is None


@pytest.mark.parametrize("call", ["flush", "commit_transaction"])
def test_an_outage_told_in_the_middle_of_a_call_that_succeeds_stops_nothing(filled, call):
    """What a client has to tell comes late: the commit that serves it may be the first that works again."""

    def told_late(client, call):
        client.kafka.writers["group.me"].config["error_cb"](kafka_error(KafkaError._ALL_BROKERS_DOWN))
        return call()

    filled.script("consume", first(assigned(0, 1)))
    filled.script(call, passes, told_late)
    assert run_until_copied(filled, max_batch=2).done == 6
    assert filled.played(call)


def test_an_outage_in_which_nothing_was_to_be_done_is_over_when_the_group_answers(filled):
    filled.script("consume", first(assigned(0, 1)), passes, brokers_down, passes)
    filled.script("committed", passes, *[fails(KafkaError._TIMED_OUT)] * 3)
    began, over = told()
    assert "_ALL_BROKERS_DOWN" in began
    assert over is None
    assert filled.offset(GROUP, SOURCE, 0) == 3


def test_a_consumer_that_asks_in_vain_while_others_are_answered_is_replaced(filled, monkeypatch):
    """One that has lived through a controlled shutdown of its broker may find no coordinator ever after."""
    monkeypatch.setattr("stream_router.adapters.kafka.loop._RENEW_AFTER", 0.0)
    former = []

    def asks_in_vain(client, call):
        filled.script("committed", asks_in_vain)
        former.append(client)
        return fails(KafkaError._TIMED_OUT)(client, call) if client is former[0] else call()

    filled.script("consume", first(assigned(0, 1)), brokers_down, first(assigned(0, 1)))
    filled.script("committed", passes, asks_in_vain)
    assert run_until_copied(filled, max_batch=2).done == 6
    assert former[-1] is not former[0]


def test_an_outage_is_not_over_and_no_process_ready_before_the_group_gives_a_renewed_consumer_something(
    filled, monkeypatch
):
    monkeypatch.setattr("stream_router.adapters.kafka.loop._RENEW_AFTER", 0.0)
    health = Health("copying", {ASSIGNMENT: "not a member of the group yet"})
    filled.script("consume", first(assigned(0, 1)), brokers_down, *[passes] * 10)
    filled.script("committed", passes, *[fails(KafkaError._TIMED_OUT)] * 3)
    loop = TransactionLoop(Settings(), loop_config(), Copy(), health)
    loop.run(filled.idle)
    unmet = health.unmet()
    assert unmet[ASSIGNMENT]
    assert unmet[KAFKA]
