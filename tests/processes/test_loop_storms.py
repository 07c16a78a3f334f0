"""Whatever interrupts a loop, each record is handled once; and the check finds each fault that was planted."""

import pytest
from support.loop_storms import Storm

from stream_router.adapters.kafka.loop import TransactionLoop
from stream_router.adapters.kafka.producers import TransactionalProducer
from stream_router.adapters.kafka.transaction import Transaction

SEEDS = 600


def faults(monkeypatch, seeds: int = SEEDS) -> list[str]:
    """Of the first storm that shows any."""
    return next((found for seed in range(seeds) if (found := Storm(monkeypatch, seed).faults())), [])


def test_whatever_interrupts_the_loop_each_record_is_handled_and_counted_once(monkeypatch):
    assert faults(monkeypatch, 300) == []


def keep_positions(self, error):
    kept = dict(self._transaction.positions) if self._transaction else {}
    undo(self, error)
    self._unsaved |= kept


def forgetting_partitions_only(self, partitions):
    self._drop(partitions)


def drop_without_reading_again(self, partitions):
    before = self._must_read_again
    drop(self, partitions)
    self._must_read_again = before


def without_offsets(self, offsets, consumer, timeout):
    del offsets
    commit(self, [], consumer, timeout)


def end_batch_without_positions(self, _records):
    pass


def commit_on_abort(self):
    self._client.commit_transaction(1)


def reading_on(self):
    self._must_read_again = False
    recover(self)


commit, drop = TransactionalProducer.commit, TransactionLoop._drop  # noqa: SLF001 - what the plants stand in for
undo, recover = TransactionLoop._undo, TransactionLoop._recover  # noqa: SLF001 - likewise

PLANTED = {
    "an abort that commits": (TransactionalProducer, "abort", commit_on_abort),
    "records of an aborted transaction are not read again": (TransactionLoop, "_recover", reading_on),
    "positions of an aborted transaction are kept": (TransactionLoop, "_undo", keep_positions),
    "a revocation leaves the transaction open": (TransactionLoop, "on_revoked", forgetting_partitions_only),
    "partitions that were lost leave the transaction open": (TransactionLoop, "on_lost", forgetting_partitions_only),
    "what was fetched before partitions went is taken when they come back": (
        TransactionLoop,
        "_drop",
        drop_without_reading_again,
    ),
    "offsets are not part of the transaction": (TransactionalProducer, "commit", without_offsets),
    "positions do not move": (Transaction, "end_batch", end_batch_without_positions),
    "an action does not wait for the commit": (Transaction, "on_commit", lambda _self, action: action()),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_the_check_finds(monkeypatch, fault):
    where, name, instead = PLANTED[fault]
    monkeypatch.setattr(where, name, instead, raising=False)
    assert faults(monkeypatch)
