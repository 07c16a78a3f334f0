"""Rollouts that are not judged say why, on real servers."""

import pytest
from support.waiting import wait_until
from support.whole_loop import Loop

from stream_router.core.lane import CANARY
from stream_router.core.routing.partitioner import WeightedPartitioner
from stream_router.core.routing.split import parse_split

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(240)]


def test_labels_that_stop_hold_until_they_come_again(loop: Loop):
    loop.policy["label_horizon"] = 3
    loop.start(stable="0.9", canary="0.91")
    with loop.traffic(200):
        loop.set_split(0.3)
        wait_until(lambda: (status := loop.status()) and status.last_label_at, 60, "a label")
        assert not loop.hold("labels have stopped")
        loop.labelled = lambda _: False
        held = wait_until(lambda: loop.hold("labels have stopped"), 60, "the hold")
        loop.labelled = lambda _: True
        wait_until(lambda: not loop.hold("labels have stopped"), 60, "the hold to go")
    assert "the newest label came at " in held
    assert "the rollout is held" in loop.monitor.stderr
    assert "the rollout is held no more" in loop.monitor.stderr
    assert "labels_stopped" in loop.monitor.stderr
    assert loop.events() == []


def test_labels_that_come_for_one_lane_more_than_for_the_other_hold_and_roll_nothing_back(loop: Loop):
    """All of canary's keys go without; its requests that have no key have their labels."""
    split, partitioner = parse_split(b'{"stable": 0.7, "canary": 0.3}'), WeightedPartitioner(loop.route.name, 1)

    def is_of_canary(number):
        keyed = number % 5 and number % 97 != 1
        return keyed and partitioner.lane(f"user-{number % 211}".encode(), split) == CANARY

    loop.labelled = lambda number: not is_of_canary(number)
    loop.start(stable="0.9", canary="0.91")
    with loop.traffic(400):
        loop.set_split(0.3)
        held = wait_until(lambda: loop.hold("labels come for fewer of the requests of canary 0.91"), 60, "the hold")
        wait_until(lambda: loop.hold("fewer of the requests of canary 0.91 than of stable 0.9 are"), 60, "coverage")
    assert "than of stable 0.9" in held
    assert loop.applied("canary") == "0.3"
    assert loop.events() == []


def test_predictions_of_another_version_than_the_rollouts_hold(loop: Loop):
    """Someone has named a new version for stable, and left the job of the old one running."""
    loop.start(stable="0.9", canary="0.5")
    loop.redis.hset(loop.route.key("models"), "stable", "0.95")
    with loop.traffic(200):
        loop.set_split(0.3)
        held = wait_until(lambda: loop.hold("stable's predictions carry version 0.9"), 60, "the hold")
    assert "the rollout is bound to 0.95" in held
    assert "end the scoring job of 0.9" in held
    assert loop.events() == []


def test_a_canary_with_all_requests_is_unjudged_and_a_limit_rolls_it_back(loop: Loop):
    loop.policy["ripe_age"] = "horizon"
    loop.policy["limits"] = [{"metric": "accuracy_drop", "bound": 0.2, "windows": 2, "predictions": 50}]
    loop.start(stable="0.9", canary="0.5")
    with loop.traffic(200):
        wait_until(lambda: len(loop.read("windowed-accuracy")) > 0, 60, "windows of stable")
        loop.set_split(1.0)
        held = wait_until(lambda: loop.hold("canary has all requests"), 60, "the hold")
        event = loop.rolled_back()
    assert "nothing is tested" in held
    assert (event.metric, event.verdict, event.numbers) == ("limit:accuracy_drop", "unhealthy", None)
    assert event.reason.startswith("canary 0.5 breaks its limit: accuracy ")
    assert "below the last known of stable 0.9" in event.reason
    assert event.reason.endswith("which is above 20 points")
    assert loop.replayed(event) == [event]
