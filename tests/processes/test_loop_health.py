"""What a loop says of its health while it runs."""

import pytest
from support.kafka_script import assigned, first, lost, revoked
from support.loops import Copy, loop_config
from support.scripted_kafka import ScriptedKafka

from stream_router.adapters.health import ASSIGNMENT, Health
from stream_router.adapters.kafka.loop import TransactionLoop
from stream_router.settings import Settings

NO_MEMBER, TAKEN = "no member", "the group took the partitions away"


@pytest.fixture
def kafka(monkeypatch):
    return ScriptedKafka(monkeypatch)


def said(kafka, *steps):
    """Why the loop is not ready, before each of its turns and at the end; None where it is."""
    kafka.script("consume", *(first(step) for step in steps))
    health, found = Health("loop", {ASSIGNMENT: NO_MEMBER}), []

    def stop() -> bool:
        found.append(health.unmet()[ASSIGNMENT])
        return kafka.idle()

    TransactionLoop(Settings(), loop_config(), Copy(), health).run(stop)
    return found


def test_a_member_is_ready_once_it_has_its_partitions_or_none(kafka):
    assert said(kafka, assigned(0, 1))[:2] == [NO_MEMBER, None]
    assert said(kafka, assigned())[:2] == [NO_MEMBER, None]


def test_it_stays_ready_where_the_group_only_moves_partitions(kafka):
    assert said(kafka, assigned(0, 1), revoked(0, 1)) == [NO_MEMBER, None, None]


def test_it_is_not_ready_from_the_loss_of_its_partitions_to_the_next_ones(kafka):
    assert said(kafka, assigned(0), lost(0), assigned(0))[:4] == [NO_MEMBER, None, TAKEN, None]


def test_each_turn_is_a_beat(kafka):
    class Counting(Health):
        beats = 0

        def beat(self) -> None:
            self.beats += 1

    kafka.script("consume", first(assigned(0)), *[first()] * 5)
    health = Counting("loop", {})
    TransactionLoop(Settings(), loop_config(), Copy(), health).run(kafka.idle)
    assert health.beats == kafka.calls.count("consume")
