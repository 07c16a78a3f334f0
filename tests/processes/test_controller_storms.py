"""Whatever ends terms, controllers say everything once; and the check finds each fault that was planted."""

import pytest
from support.term_storms import Storm
from support.terms import RECORDS, World

from stream_router.adapters.kafka.controller_log import ControllerLog
from stream_router.adapters.kafka.producers import TransactionalProducer
from stream_router.core.deciding.rows import Pool
from stream_router.processes.controller import ControllerTerm
from stream_router.processes.snapshots import Snapshots


@pytest.fixture(scope="module")
def windows():
    """Those of a term that nothing disturbs."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = World(monkeypatch)
        world.happens(*RECORDS)
        world.serve()
        return world.windows


def faults(monkeypatch, windows, seeds: int) -> list[str]:
    """Of the first storm that shows any."""
    return next((found for seed in range(seeds) if (found := Storm(monkeypatch, seed).faults(windows))), [])


def test_whatever_ends_terms_everything_is_said_once(monkeypatch, windows):
    assert faults(monkeypatch, windows, 40) == []


def enforce_once(self, controller):
    if controller.must_carry_out:
        controller.carried_out = controller.view.latch

        enforce(self, controller)


def position_first(self, records, offsets, consumer):
    consumer.commit(offsets=offsets, asynchronous=False)
    write(self, records, offsets, consumer)


def nothing_waits(pool):
    return state(pool) | {"places": [], "lengths": []}


def snapshot_before_what_it_knows(self, fold, next_offset, **how):
    return [] if next_offset == 0 else due(self, fold, next_offset - 1, **how)


def snapshot_behind_what_it_knows(self, fold, next_offset, **how):
    return due(self, fold, next_offset + 1, **how)


def write_from_position(self, records, position, _replay_from, held):
    write_log(self, records, position, position, held)


def controller_from_the_beginning(self):
    begun = begin(self)
    begun.position = 0
    return begun


enforce, begin = ControllerTerm._carry_out, ControllerTerm._begun  # noqa: SLF001 - what the plants stand in for
write, write_log = TransactionalProducer.write, ControllerLog.write
state, due = Pool.state, Snapshots.due

PLANTED = {
    "it acts before it has caught up": (ControllerLog, "caught_up", property(lambda log: log.leads)),
    "its position is not part of the transaction": (TransactionalProducer, "write", position_first),
    "a successor does not replay": (ControllerLog, "write", write_from_position),
    "what a predecessor wrote is written again": (ControllerTerm, "_begun", controller_from_the_beginning),
    "a snapshot is without what waits": (Pool, "state", nothing_waits),
    "a snapshot stands for one record less": (Snapshots, "due", snapshot_before_what_it_knows),
    "a snapshot stands for one record more": (Snapshots, "due", snapshot_behind_what_it_knows),
    "a rollback is brought to Redis once": (ControllerTerm, "_carry_out", enforce_once),
    "a term goes on after another election": (ControllerLog, "term", property(lambda _: 1, lambda *_: None)),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_the_check_finds(monkeypatch, windows, fault):
    where, name, instead = PLANTED[fault]
    monkeypatch.setattr(where, name, instead, raising=False)
    assert faults(monkeypatch, windows, 100)
