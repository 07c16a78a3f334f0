"""Whatever comes between owners of a partition, each outcome is written once; and the check finds planted faults."""

import numpy as np
import pytest
from support.owner_storms import Storm

from stream_router.adapters.kafka.producers import TransactionalProducer
from stream_router.core.joining.held_rows import HeldRows
from stream_router.core.joining.join import Join
from stream_router.processes.owner import Owner
from stream_router.processes.tenure import Tenure


def faults(monkeypatch, seeds: int = 200) -> list[str]:
    """Of the first storm that shows any."""
    return next((found for seed in range(seeds) if (found := Storm(monkeypatch, seed).faults())), [])


def test_whatever_comes_between_each_outcome_is_written_once(monkeypatch):
    assert faults(monkeypatch, 100) == []


def chunk_from_anywhere(self, side, chunk):
    at = getattr(self._tenure.positions, side) if self._tenure else chunk.start
    return on_chunk(self, side, chunk._replace(start=at))


def positions_first(self, records, offsets, consumer):
    consumer.commit(offsets=offsets, asynchronous=False)
    write(self, records, offsets, consumer)


on_chunk, write, init = Owner.on_chunk, TransactionalProducer.write, Join.__init__

PLANTED = {
    "a lost chunk is not noticed": (Owner, "on_chunk", chunk_from_anywhere),
    "it writes before its rows are rebuilt": (Tenure, "is_rebuilt", property(lambda _: True)),
    "what was said is said again": (HeldRows, "is_new", lambda _self, rows: np.ones(len(rows), np.bool_)),
    "positions are not part of the transaction": (TransactionalProducer, "write", positions_first),
    "nobody is shut out": (TransactionalProducer, "take_over", lambda _: None),
    "a successor tells of windows again": (
        Join,
        "__init__",
        lambda *given, **more: init(*given, **more | {"told_until": 0}),
    ),
    "a successor begins behind the rows": (Join, "rebuild_from", lambda _self, positions: positions),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_the_check_finds(monkeypatch, fault):
    where, name, instead = PLANTED[fault]
    monkeypatch.setattr(where, name, instead)
    assert faults(monkeypatch)
