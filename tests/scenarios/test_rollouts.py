"""Rollouts on real servers: a healthy version goes to everybody by itself, jobs following; a bad one goes back."""

from collections import Counter

import pytest
from support.processes import Command
from support.waiting import wait_until
from support.whole_loop import Loop

from stream_router.core.rollout.log_records import Transition
from stream_router.errors import NoAnswerError, RefusedError
from stream_router.processes import rollouts as module
from stream_router.processes.rollouts import Rollouts
from stream_router.settings import load_settings

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(300)]

STABLE, BETTER, WORSE = "0.9", "0.92", "0.6"
QUICK = {
    "steps": [{"weight": 0.2, "min_labels": 20}, {"weight": 0.5, "min_labels": 20}],
    "metrics": {"accuracy": {"margin": 0.2}, "error_rate": {"margin": 0.2}},
    "silent_for": 30,
}


def follow(loop: Loop, lane: str) -> Command:
    """A job that scores with its lane's version, whatever it becomes."""
    flags = ("--route", loop.route.name, "--lane", lane, "--model", "support.models:load")
    loop.jobs[lane] = loop.processes.start("score", *flags, **loop.environment)
    return loop.jobs[lane]


@pytest.fixture
def led(loop: Loop):
    """A route whose jobs follow their lanes, with stable's version registered."""
    loop.policy |= QUICK
    loop.redis.hset(loop.route.key("models"), "stable", STABLE)
    loop.monitor = loop.start_monitor("a")
    loop.processes.start("route", "--route", loop.route.name)
    follow(loop, "stable")
    wait_until(lambda: loop.status() is not None, 60, "a controller")
    settings = load_settings(
        flags={"bootstrap_servers": loop.stack.bootstrap_servers, "redis_url": loop.stack.redis_url}
    )
    with Rollouts(loop.route, settings) as rollouts:
        yield rollouts


def phases(rollouts: Rollouts, rollout: int) -> list[tuple[str, int]]:
    """Phase and step of each transition."""
    records = [change.record for change in rollouts.history()]
    return [(one.after, one.step) for one in records if isinstance(one, Transition) and one.rollout == rollout]


def test_a_healthy_version_goes_to_everybody_and_undo_brings_the_previous_one_back(loop: Loop, led: Rollouts):
    with loop.traffic():
        started = led.start(BETTER, reason="retrained")
        assert started.after == "Starting"
        with pytest.raises(RefusedError, match="is Starting: abort it first"):
            led.start(BETTER)
        assert loop.applied("canary") == "0.0"
        follow(loop, "canary")
        assert led.wait("Promoted", timeout=150).phase == "Promoted", led.history()
        rollout = started.rollout
        assert phases(led, rollout) == [
            ("Starting", 0),
            ("Progressing", 1),
            ("Progressing", 2),
            ("Promoting", 2),
            ("Promoting", 2),
            ("Promoted", 2),
        ]
        models = loop.redis.hgetall(loop.route.key("models"))
        assert (models[b"stable"], models[b"previous"]) == (BETTER.encode(), STABLE.encode())
        event = led.undo(reason="changed our minds")
        assert led.obeyed(event) is not None
        wait_until(
            lambda: loop.redis.hget(loop.route.key("models"), "stable") == STABLE.encode(), 30, "the previous version"
        )
        assert led.state().phase == "RolledBack"
    versions = Counter((one.lane, one.rollout, one.model_version) for one in loop.predictions())
    assert {version for lane, _, version in versions if lane == "canary"} == {BETTER}
    assert {version for lane, _, version in versions if lane == "stable"} == {STABLE, BETTER}


def test_a_bad_version_is_rolled_back_and_the_same_command_starts_the_mended_one(loop: Loop, led: Rollouts):
    follow(loop, "canary")
    with loop.traffic():
        bad = led.start(WORSE)
        assert led.wait("Promoted", timeout=120).phase == "RolledBack"
        good = led.start(BETTER)
        assert good.rollout > bad.rollout
        wait_until(lambda: ("Progressing", 1) in phases(led, good.rollout), 60, "the mended version at the first step")
        led.pause(reason="lunch")
        weight = float(loop.applied("canary"))
        assert weight > 0
        led.resume()
        event = led.abort(reason="enough seen")
        assert led.obeyed(event) is not None
        assert led.state().phase == "Aborted"


def test_without_a_controller_a_command_says_so_and_an_abort_works(loop: Loop, led: Rollouts, monkeypatch):
    follow(loop, "canary")
    with loop.traffic():
        led.start(BETTER)
        wait_until(lambda: led.state().phase == "Progressing", 60, "the first step")
        loop.monitor.kill()
        monkeypatch.setattr(module, "ANSWER_TIMEOUT", 2.0)
        with pytest.raises(NoAnswerError, match="no controller has answered"):
            led.pause()
        event = led.abort(reason="nobody watches")
        assert led.obeyed(event, 20) is not None
        assert led.state().phase == "Aborted"
