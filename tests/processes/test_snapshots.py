"""When a controller writes a snapshot, and when it does not."""

from types import SimpleNamespace

import pytest
from support.evidence import POLICY
from support.scripted_kafka import ScriptedKafka
from support.terms import ROUTE

from stream_router.core.deciding.fold import EvidenceFold
from stream_router.processes import snapshots
from stream_router.processes.snapshots import Snapshots
from stream_router.settings import Settings

FOLD = EvidenceFold(POLICY, 2)


class Clock(SimpleNamespace):
    """Seconds."""

    def __init__(self) -> None:
        super().__init__(now=1_000.0)

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    ScriptedKafka(monkeypatch)
    clock = Clock()
    monkeypatch.setattr(snapshots, "time", clock)
    return clock


def begun(of=None):
    """A term that finds none."""
    found = of or Snapshots(Settings(), ROUTE)
    assert found.begin(0, 0, POLICY, 2) is None
    return found


def test_what_is_in_a_hurry_waits_for_none_not_even_for_the_first(clock):
    found = begun()
    assert found.due(FOLD, 5, in_a_hurry=True) == []
    found.on_committed()
    assert found.due(FOLD, 6)
    found.on_committed()
    clock.now += 1_000
    assert found.due(FOLD, 100_000, in_a_hurry=True) == []
    assert found.due(FOLD, 100_001)


@pytest.mark.parametrize(("records", "seconds", "is_due"), [(50_000, 0, True), (49_999, 59, False), (1, 60, True)])
def test_one_is_due_by_records_or_by_time(clock, records, seconds, is_due):
    found = begun()
    found.due(FOLD, 5)
    found.on_committed()
    clock.now += seconds
    assert bool(found.due(FOLD, 5 + records)) is is_due


def test_one_that_took_long_is_followed_later(clock):
    found = begun()
    found.due(FOLD, 5)
    clock.now += 10
    found.on_committed()
    clock.now += 199
    assert not found.due(FOLD, 100_000)
    clock.now += 1
    assert found.due(FOLD, 100_000)


def test_after_a_transaction_with_one_has_failed_the_next_terms_write_none_for_ever_longer(clock):
    """It may be the snapshot that cannot be written, and the controller has other things to say."""
    found, waits = Snapshots(Settings(), ROUTE), []
    for _ in range(9):
        begun(found)
        since = clock.now
        while not found.due(FOLD, 5):
            found.on_committed()
            clock.now += 60
        waits.append((clock.now - since) / 60)
    assert waits == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    found.on_committed()
    begun(found)
    assert found.due(FOLD, 6), "one that was written ends it"


def test_a_term_that_ends_without_a_failed_snapshot_leaves_the_next_one_free():
    found = begun()
    assert found.due(FOLD, 5)
    found.on_committed()
    assert not found.due(FOLD, 6)
    begun(found)
    assert found.due(FOLD, 6)
