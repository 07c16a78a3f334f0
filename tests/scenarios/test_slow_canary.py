"""A slow canary on real servers: what latency is to a rollout is the policy's to say."""

import pytest
from support.waiting import wait_until
from support.whole_loop import Loop

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(240)]

LATENCIES = ("latency_p50", "latency_p99", "model_latency_p50", "model_latency_p99")
RATE = 400


def start(loop):
    """Of stable a thousand micro-batches have to be known, so that these are small; canary sleeps for 0.1 s in each."""
    loop.policy["prediction_deadline"] = 8
    loop.start(stable="0.9", canary="slow", stable_batch=2)


def test_by_default_it_is_held_and_not_rolled_back(loop: Loop):
    start(loop)
    with loop.traffic(RATE):
        loop.set_split(0.3)
        held = wait_until(lambda: loop.hold("computes longer than"), 60, "the hold")
    assert held.startswith("canary slow computes longer than stable 0.9's p")
    assert "of model time of " in held
    assert "e-value reached" in held
    assert loop.applied("canary") == "0.3"
    assert loop.events() == []


def test_where_latency_is_a_guardrail_it_is_rolled_back_with_its_numbers(loop: Loop):
    loop.policy["metrics"] = {name: {"role": "guardrail", "weight": 0.05} for name in LATENCIES}
    start(loop)
    with loop.traffic(RATE):
        loop.set_split(0.3)
        event = loop.rolled_back()
    assert event.metric in LATENCIES
    assert event.verdict == "unhealthy"
    numbers = event.numbers
    assert numbers.e_value >= numbers.threshold == pytest.approx(1 / (0.05 * 0.05))
    verb = "computes longer" if event.metric.startswith("model") else "answers slower"
    quantile = event.metric.rpartition("_")[2]
    assert event.reason.startswith(f"canary slow {verb} than stable 0.9's {quantile} of ")
    assert f"of {numbers.canary_labels:,} batches against" in event.reason
    assert f"of {numbers.stable_labels:,}," in event.reason
    assert loop.replayed(event) == [event]


def test_an_absolute_limit_rolls_it_back(loop: Loop):
    loop.policy["limits"] = [{"metric": "model_latency_p99", "bound": 0.05, "windows": 2, "predictions": 20}]
    start(loop)
    with loop.traffic(RATE):
        loop.set_split(0.3)
        event = loop.rolled_back()
    assert (event.metric, event.verdict, event.numbers) == ("limit:model_latency_p99", "unhealthy", None)
    assert event.reason.startswith("canary slow breaks its limit: p99 of model latency, at least 0.")
    assert event.reason.endswith("is above 0.05 s")
    assert loop.replayed(event) == [event]
