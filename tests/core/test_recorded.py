"""Verdicts of R.rollout-events against those of a replay: the same bit for bit, or what differs."""

import math
from dataclasses import replace

import pytest
from support.evidence import Simulation

from stream_router.core.deciding.backtest import Fell
from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.rollout.recorded import compared, ended_at, recorded_verdicts
from stream_router.core.rollout.rollout_event import RolloutEvent, rollback_event, verdict_event


@pytest.fixture(scope="module")
def verdict():
    simulation = Simulation(seed=1, seconds=60)
    fold = EvidenceFold(simulation.policy, 2)
    found = [one for n, record in enumerate(simulation.records()) for one in fold.on_record(n, record).verdicts]
    return found[0]


def test_what_is_equal_agrees(verdict):
    found = compared([verdict_event(verdict, 9)], [Fell(verdict=verdict, at=5)], None)
    assert found.agrees
    assert found.differs == (None,)


def test_a_last_bit_of_the_e_value_is_a_difference(verdict):
    numbers = replace(verdict.numbers, e_value=math.nextafter(verdict.numbers.e_value, 0))
    found = compared([verdict_event(verdict, 9)], [Fell(verdict=replace(verdict, numbers=numbers), at=5)], None)
    assert not found.agrees
    assert "its e-value is" in found.differs[0]


def test_another_record_another_count_and_none_are_differences(verdict):
    event = verdict_event(verdict, 9)
    numbers = replace(verdict.numbers, blocks=verdict.numbers.blocks + 1)
    for other, said in (
        ([replace(verdict, offset=3)], "falls at offset 3"),
        ([replace(verdict, numbers=numbers)], "its numbers are"),
        ([], "does not find it"),
    ):
        found = compared([event], [Fell(verdict=one, at=5) for one in other], None)
        assert said in found.differs[0]


def test_what_the_log_lacks_is_told_unless_the_rollout_was_over(verdict):
    fell = [Fell(verdict=verdict, at=100_000)]
    assert compared([], fell, None).lacking == (verdict,)
    assert not compared([], fell, None).agrees
    assert compared([], fell, over_at=100_001).agrees
    assert not compared([], fell, over_at=200_000).agrees


def test_a_rollback_counts_as_a_verdict_only_where_no_record_tells_of_it(verdict):
    told, rollback = verdict_event(verdict, 9), rollback_event(verdict, 9)
    other = replace(told, rollout=2)
    assert recorded_verdicts([told, rollback, told, other], 1) == [told]
    assert recorded_verdicts([rollback], 1) == [rollback]
    assert ended_at([told, rollback], 1) is None


def test_a_person_s_rollback_is_no_verdict_and_an_end():
    by_hand = RolloutEvent(kind="rollback", rollout=1, epoch=1, digest="", verdict="", reason="enough", decided_at=7)
    assert recorded_verdicts([by_hand], 1) == []
    assert ended_at([by_hand], 1) == 7
