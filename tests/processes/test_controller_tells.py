"""What a controller's term tells of lanes that do not answer and of holds: in Kafka, in Redis, in log and metrics."""

from dataclasses import replace
from itertools import count

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from support.kafka_script import assigned, first, passes
from support.terms import RECORDS, ROUTE, SPLIT, World

from stream_router.adapters.avro.records import encode_split
from stream_router.core.rollout.situation import REASONS
from stream_router.core.routing.split import ALL_STABLE_RAW
from stream_router.processes import controller, telling

QUIET = RECORDS[:20]
"""A rollout that has begun, with nothing decided."""

LONG_ENOUGH = 80
"""Looks, a second or more after each other: a silence of more than a minute."""


@pytest.fixture
def world(monkeypatch):
    """Each look of the controller at its clock is a second later."""
    seconds = count(1_000_000, 1_000)
    monkeypatch.setattr(controller, "now_ms", lambda: next(seconds))
    return World(monkeypatch)


def looking(world, found):
    """A poll beside which the lanes are looked at: then this is found."""

    def step(_client, call):
        world.lanes.unanswered = found
        world.watch.look()
        return call()

    return step


def silences(world):
    return [silence for record in world.controls for silence in record.silences]


def held(reason):
    return REGISTRY.get_sample_value("stream_router_holds", {"route": "r", "reason": reason})


def test_a_silent_canary_holds_and_is_rolled_back_with_its_numbers(world):
    world.happens(*QUIET)
    world.serve(first(assigned(0)), *[passes] * 3, *[looking(world, {"canary": 812})] * LONG_ENOUGH, passes)
    (rollback,) = world.rollbacks
    assert (rollback.rollout, rollback.metric, rollback.numbers) == (SPLIT.rollout, "silence", None)
    assert rollback.reason.startswith("canary v2 does not answer: 812 requests wait for more than 5 s")
    assert world.store.applied().canary == 0.0
    trial = world.store.status().trial
    assert (trial.metric, trial.e_value, trial.summary) == ("silence", None, rollback.reason)
    assert all(silence.unanswered == 812 for silence in silences(world))


def test_the_next_term_says_of_a_silence_what_this_one_said(world):
    world.happens(*QUIET)
    world.serve(first(assigned(0)), *[passes] * 3, *[looking(world, {"canary": 812})] * LONG_ENOUGH, passes)
    shown = world.store.status()
    world.new_term()
    world.happens(RECORDS[20])
    world.serve(first(assigned(0)), passes, passes)
    assert len(world.rollbacks) == 1
    assert world.store.status().trial.summary == shown.trial.summary


def test_a_silent_stable_lane_holds_and_rolls_nothing_back(world):
    world.happens(*QUIET)
    with capture_logs() as logs:
        world.serve(
            first(assigned(0)),
            *[passes] * 3,
            *[looking(world, {"stable": 7})] * 20,
            *[looking(world, {})] * 3,
            passes,
        )
    assert world.rollbacks == []
    assert [silence.unanswered > 0 for silence in silences(world)][-2:] == [True, False]
    told = [(line["event"], line["log_level"]) for line in logs if line.get("reason") == "silent_lane"]
    assert told == [("the rollout is held", "warning"), ("the rollout is held no more", "info")]


def test_a_hold_is_in_the_status_the_log_and_a_metric_while_it_lasts(world):
    shown, write = [], world.store.write_status
    world.store.write_status = lambda status: (shown.append(status), write(status))
    world.lanes.members["canary"] = 0
    during = []

    def look(_client, call):
        during.append(held("no_scoring_job"))
        return call()

    world.happens(*QUIET)
    with capture_logs() as logs:
        world.serve(first(assigned(0)), *[passes] * 3, looking(world, {}), passes, passes, look)
    said = [line["why"] for line in logs if line.get("reason") == "no_scoring_job"]
    assert said == ["no scoring job of canary is running: start 'stream-router score --lane canary'"]
    assert said[0] in shown[-1].holds
    assert during == [1]
    assert {held(reason) for reason in REASONS} == {None}, "the next controller may be another process"


def served():
    """What only the controller knows, as this process serves it."""
    samples = [sample for metric in REGISTRY.collect() for sample in metric.samples]
    return {
        (sample.name, *sample.labels.values()): sample.value for sample in samples if sample.name in LEADERS_METRICS
    }


LEADERS_METRICS = {
    "stream_router_e_value",
    "stream_router_evidence_behind_records",
    "stream_router_held_rollouts",
    "stream_router_holds",
    "stream_router_lane_behind_records",
    "stream_router_left_out_outcomes",
    "stream_router_refused_watermarks",
}


def test_what_only_the_controller_knows_is_served_no_more_once_its_term_is_over(world):
    """The next one may be another process: this one's last values would stand beside those of now."""
    during = {}

    def look(_client, call):
        during.update(served())
        return call()

    world.happens(*QUIET)
    world.serve(first(assigned(0)), *[passes] * 3, looking(world, {}), passes, passes, look)
    assert {name for name, *_ in during} == LEADERS_METRICS
    assert served() == {}


def test_a_lane_that_is_looked_at_no_more_has_no_number_of_requests_that_wait(world):
    during = []

    def look(_client, call):
        during.append(("stream_router_lane_behind_records", "r", "canary") in served())
        return call()

    def to_stable(_client, call):
        world.kafka.fill(ROUTE.topic("splits"), encode_split(replace(SPLIT, raw=ALL_STABLE_RAW, canary=0.0, epoch=2)))
        return call()

    world.happens(*QUIET)
    world.serve(first(assigned(0)), *[passes] * 3, looking(world, {}), passes, look, to_stable, *[passes] * 4, look)
    assert during == [True, False]


def test_an_unchanged_status_is_written_again_now_and_then(world, monkeypatch):
    shown, write = [], world.store.write_status
    world.store.write_status = lambda status: (shown.append(status), write(status))
    world.happens(*QUIET)
    world.serve(first(assigned(0)), *[passes] * 20)
    once = len(shown)
    shown.clear()
    monkeypatch.setattr(telling, "_SHOW_AGAIN", 0.0)
    world.new_term()
    world.serve(first(assigned(0)), *[passes] * 20)
    assert once < len(shown)
    assert [status.written_at for status in shown] == sorted(status.written_at for status in shown)
