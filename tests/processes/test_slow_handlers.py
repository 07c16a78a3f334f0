"""The loop around a handler that takes its time, such as a model: no transaction of Kafka's is open meanwhile."""

from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError
from support.kafka_script import assigned, fails, first, meanwhile, passes, revoked
from support.loops import GROUP, SOURCE, Copy, loop_config, run_handler, run_until_copied, source_faults
from support.scripted_kafka import ScriptedKafka

from stream_router.adapters.kafka import loop as loop_module
from stream_router.adapters.kafka.handler import Unfinished
from stream_router.adapters.kafka.loop import TransactionLoop
from stream_router.settings import Settings

# ruff: noqa: SLF001 - librdkafka's own codes are spelt so


class SlowCopy(Copy):
    """Notes in which order what happened."""

    def __init__(self, kafka):
        super().__init__()
        self.kafka, self.batches = kafka, []

    def handle(self, records, transaction):
        assert self.kafka.calls.count("begin_transaction") == self.kafka.calls.count("commit_transaction")
        self.batches += [len(records)] if records else []
        super().handle(records, transaction)


class LeavesTheSecondBatch(SlowCopy):
    def handle(self, records, transaction):
        super().handle(records, transaction)
        if len(self.batches) == 2:
            raise Unfinished


@pytest.fixture
def filled(monkeypatch):
    kafka = ScriptedKafka(monkeypatch)
    kafka.fill(SOURCE, b"a0", b"a1", b"a2", partition=0)
    kafka.fill(SOURCE, b"b0", b"b1", b"b2", partition=1)
    return kafka


@pytest.fixture
def _ticking(monkeypatch):
    """A second passes with each look at it."""
    now = iter(range(1_000))
    monkeypatch.setattr(loop_module, "time", SimpleNamespace(monotonic=lambda: float(next(now)), sleep=lambda _: None))


def test_no_transaction_is_open_while_a_slow_handler_works(filled):
    filled.script("consume", first(assigned(0, 1)))
    handler = run_handler(filled, SlowCopy(filled), slow=True, max_batch=2, interval=0.0)
    assert handler.batches == [2, 2, 2]
    assert source_faults(filled) == []


def test_batches_of_one_interval_are_one_transaction_that_begins_with_its_commit(filled):
    filled.script("consume", first(assigned(0, 1)))
    handler = run_handler(filled, SlowCopy(filled), slow=True, max_batch=2, interval=3_600.0)
    assert handler.batches == [2, 2, 2]
    assert filled.calls.count("begin_transaction") == 1
    assert source_faults(filled) == []


@pytest.mark.usefixtures("_ticking")
def test_no_transaction_is_open_while_a_batch_gathers(filled):
    """With one that waits for 15 s, and more than one poll in that time."""
    handler = SlowCopy(filled)
    filled.script("consume", first(assigned(0, 1)))
    run_until_copied(filled, handler, slow=True, max_batch=7, max_wait=15.0)
    assert handler.batches == [6]
    assert source_faults(filled) == []


@pytest.mark.parametrize(
    ("call", "failure"),
    [
        ("begin_transaction", fails(KafkaError._STATE)),
        ("produce", fails(KafkaError._MSG_TIMED_OUT)),
        ("commit_transaction", fails(KafkaError._INCONSISTENT)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_held_output_is_written_once_whichever_call_fails(filled, call, failure):
    filled.script(call, passes, failure)
    filled.script("consume", first(assigned(0, 1)))
    handler = run_handler(filled, Copy(), slow=True, max_batch=2)
    assert filled.played(call)
    assert source_faults(filled) == []
    assert handler.done == 6


def test_a_loop_that_waits_for_a_batch_hears_that_it_is_to_stop_and_leaves_the_batch(filled):
    filled.script("consume", first(assigned(0, 1)))
    loop = TransactionLoop(Settings(), loop_config(slow=True, max_batch=7, max_wait=3_600.0), Copy())
    loop.run(lambda: filled.calls.count("consume") == 3)
    assert filled.values("out") == []
    assert filled.offset(GROUP, SOURCE) is None


@pytest.mark.usefixtures("_ticking")
def test_what_has_gathered_is_not_taken_twice_where_its_partition_comes_back(filled):
    filled.script("consume", first(assigned(0, 1)), meanwhile(revoked(0), assigned(0)))
    handler = run_until_copied(filled, Copy(), slow=True, max_batch=100, max_wait=15.0)
    assert source_faults(filled) == []
    assert handler.done == 6


def test_a_batch_that_its_handler_left_is_a_successors(filled):
    filled.script("consume", first(assigned(0, 1)))
    run_handler(filled, LeavesTheSecondBatch(filled), slow=True, max_batch=2)
    assert filled.values("out") == [b"a0", b"a1"]
    assert (filled.offset(GROUP, SOURCE, 0), filled.offset(GROUP, SOURCE, 1)) == (2, 0)
