"""What a planned rollout needs is what the test that decides it needs."""

import numpy as np
import pytest

from stream_router.core.deciding.plan import Plan, Run, faults, forecast, simulate
from stream_router.core.policy import Policy


def plan(**changed):
    told = {"accuracy": 0.9, "drop": 0.05, "share": 0.1, "rate": 50.0, "label_delay": 7_200_000} | changed
    return Plan(policy=changed.pop("policy", Policy()), **{k: v for k, v in told.items() if k != "policy"})


def runs(planned, drop, count=60):
    return list(simulate(planned, drop, count, np.random.default_rng(3)))


def test_a_larger_drop_takes_fewer_labels_and_a_good_canary_is_passed():
    large, small = (forecast(plan(), runs(plan(), drop), runs(plan(), 0.0)) for drop in (0.1, 0.05))
    assert large.bad_found.labels[1] < small.bad_found.labels[1]
    assert small.bad_found.runs >= 57
    assert small.good_passed.runs >= 54
    assert small.good_rolled_back <= 6


def test_a_worse_canary_is_not_shown_to_be_healthy():
    found = runs(plan(), 0.05)
    assert sum(run.healthy_at is not None and not run.is_found for run in found) <= 3


def test_time_is_that_of_the_labels_and_of_their_delay():
    """Twice the rate halves what the labels take and leaves the delay; half the labels double it."""
    waits = plan().until_ripe
    assert waits == 60_000 + 7_200_000
    assert plan().seconds_until(500, waits) == pytest.approx(100 + waits / 1000)
    assert plan(rate=100.0).seconds_until(500, waits) == pytest.approx(50 + waits / 1000)
    assert plan(labelled=0.5).seconds_until(500, waits) == pytest.approx(200 + waits / 1000)


def test_a_good_canary_is_passed_on_mature_cohorts_only():
    found = forecast(plan(), [], [Run(None, 500)] * 10)
    assert found.good_passed.seconds[1] == pytest.approx(100 + Policy().matures_after / 1000)
    assert found.good_passed.requests[1] == pytest.approx(found.good_passed.seconds[1] * 5)


def test_nothing_is_promised_where_no_run_is_decided():
    found = forecast(plan(), [Run(None, None)] * 10, [Run(None, None)] * 10)
    assert (found.bad_found.runs, found.bad_found.labels) == (0, None)


def test_the_first_verdict_counts():
    assert Run(500, 700).is_found
    assert not Run(700, 500).is_found
    assert not Run(None, 500).is_found


def test_a_rollout_ends_at_max_labels():
    short = plan(policy=Policy(max_labels=50), drop=0.001)
    assert runs(short, 0.001, 20) == [Run(None, None)] * 20


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"accuracy": 1.5}, "accuracy is 1.5"),
        ({"drop": 0.95}, "the drop is 0.95"),
        ({"drop": 0.0}, "the drop is 0.0"),
        ({"share": 0.0}, "share is 0.0"),
        ({"share": 1.0}, "nothing is left of stable"),
        ({"rate": float("nan")}, "the rate is nan"),
        ({"labelled": float("nan")}, "labelled is nan"),
    ],
)
def test_an_impossible_plan_is_named(changed, said):
    assert any(said in fault for fault in faults(plan(**changed)))


def test_a_possible_plan_has_no_fault():
    assert list(faults(plan())) == []
