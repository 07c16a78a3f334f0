"""The controller answers each command once, whoever is in office, and asks the script for what the log says."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.kafka_script import assigned, first
from support.terms import ROUTE, SPLIT, World

from stream_router.adapters.avro.log_records import decode_log_record, encode_log_record
from stream_router.adapters.avro.records import encode_split
from stream_router.adapters.clock import now_ms
from stream_router.core.rollout.log_records import COMMAND_TIME_MS, Command, LogRecord, Refusal, Transition
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.processes import leading

LOG = ROUTE.topic("rollout-events")
IDLE = AppliedSplit(epoch=2, rollout=1)


@pytest.fixture
def world(monkeypatch) -> World:
    monkeypatch.setattr(leading, "_EVERY", 0.0)
    return World(monkeypatch)


def start(world: World, *, late: int = 0, **changes: object) -> Command:
    """A command as the command line writes it, so many milliseconds ago."""
    now = now_ms() - late
    newest = max((offset for offset, record in log(world) if isinstance(record, Transition)), default=-1)
    command = Command(
        id=f"command {len(log(world))}",
        verb="start",
        by="me",
        reason="",
        at=now,
        seen=newest,
        expires_at=now + COMMAND_TIME_MS,
        version="v2",
    )
    world.kafka.fill(LOG, encode_log_record(replace(command, **changes)))
    return command


def log(world: World) -> list[tuple[int, LogRecord]]:
    return [(offset, decode_log_record(value)) for offset, value in enumerate(world.kafka.values(LOG))]


def answers(world: World, command: Command) -> Iterator[Transition | Refusal]:
    return (one for _, one in log(world) if isinstance(one, Transition | Refusal) and one.command == command.id)


def idle(world: World) -> None:
    """Nobody has set a split but to give all to stable."""
    world.store.keys.applied, world.store.keys.split = IDLE, IDLE.raw
    world.kafka.fill(ROUTE.topic("splits"), encode_split(IDLE))


def serve(world: World, turns: int = 20) -> None:
    world.serve(first(assigned(0)), *[lambda *_: []] * turns)


def test_a_start_is_refused_while_an_operator_has_given_canary_a_share(world):
    command = start(world)
    serve(world)
    (refusal,) = answers(world, command)
    assert "30 %, set by hand" in refusal.reason


def test_a_command_is_answered_once_whoever_is_in_office(world):
    command = start(world)
    serve(world)
    for _ in range(3):
        world.new_term()
        serve(world)
    assert len(list(answers(world, command))) == 1


def test_a_command_that_nobody_took_in_time_is_refused(world):
    command = start(world, late=2 * COMMAND_TIME_MS)
    serve(world)
    (refusal,) = answers(world, command)
    assert "expired" in refusal.reason


def test_what_is_set_by_hand_is_told_once(world):
    serve(world)
    world.new_term()
    serve(world)
    told = [record for _, record in log(world) if isinstance(record, Transition)]
    assert [(one.after, one.rollout) for one in told] == [("Manual", SPLIT.rollout)]


def test_a_start_is_in_the_log_before_the_script_is_asked_and_a_successor_asks_where_it_was_not(world):
    idle(world)
    command = start(world)
    world.store.away = True
    serve(world)
    (begun,) = [one for one in answers(world, command) if isinstance(one, Transition)]
    assert (begun.after, begun.rollout) == ("Starting", 2)
    world.store.away = False
    assert world.store.applied().rollout == 1
    world.new_term()
    serve(world)
    assert (world.store.applied().rollout, world.store.applied().canary) == (2, 0.0)
    assert world.store.models().canary == "v2"
    assert len(list(answers(world, command))) == 1
