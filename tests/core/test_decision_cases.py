"""What benchmarks/decision.py shows of labels, outages and several metrics, in small, beside what is done elsewhere.

Bounds on rates leave three standard errors of the number of runs; every case is seeded.
"""

import numpy as np
import pytest
from decision_cases import changing, constant, drift_and_ramp
from decision_clusters import Failures, clusters, failing_users
from decision_metrics import four_metrics, signals
from decision_naive import fixed_threshold, repeated_z
from decision_outages import down, thinned
from decision_ripe import DAY, first_bet, first_rollout, mixed, within
from vectorised_decision import TwoSideds

from stream_router.core.deciding.metrics.two_sided import TwoSided


def run(case, runs, seed=1):
    return case(runs, np.random.default_rng(seed))


def test_a_fixed_threshold_and_a_repeated_z_test_roll_healthy_canaries_back():
    assert run(constant(0.1, 0.1, 0.1, fixed_threshold), 100).rate >= 0.9
    assert 0.15 <= run(constant(0.1, 0.1, 0.1, repeated_z), 300).rate <= 0.4
    assert run(changing(drift_and_ramp, repeated_z), 100).rate == 1


@pytest.mark.parametrize(("hours", "speed", "least_without"), [(3, 3.0, 0.45), (1, 1.2, 0.08)])
def test_a_job_that_was_down_is_no_bad_canary(hours, speed, least_without):
    assert run(down(hours, speed), 300).rate <= 0.09
    assert run(down(hours, speed, late_rule=False), 300).rate >= least_without


@pytest.mark.parametrize("share", [0.01, 0.001])
def test_thinning_stable_costs_little_and_calls_no_more_healthy_canaries_bad(share):
    needed = [np.median(run(case(share, 0.1, 0.15), 1_500, seed=2).needed) for case in (thinned, constant)]
    assert needed[0] <= 1.2 * needed[1]  # 1.05 in the limit of many labels
    assert run(thinned(share, 0.1, 0.1), 200).rate <= 0.1


@pytest.mark.parametrize(("an_hour", "seconds"), [(1, 1), (1 / 24, 5)])
def test_a_job_that_fails_for_a_moment_is_no_bad_canary(an_hour, seconds):
    """One outcome a lane and second; by requests, or micro-batches, many healthy canaries would be rolled back."""
    failures = Failures(an_hour, seconds)
    assert run(clusters(failures), 100).rate <= 0.04
    for unit in ("request", "micro-batch"):
        assert run(clusters(failures, unit), 60).rate >= 0.05


def test_users_whose_requests_always_fail_are_no_bad_canary():
    assert run(failing_users(0.005), 40).rate <= 0.05
    assert run(failing_users(0.005, once=False), 40).rate >= 0.1


@pytest.mark.parametrize(("stable", "canary", "minutes"), [(0.01, 0.02, 300), (0.001, 0.1, 15), (0.001, 1.0, 2)])
def test_a_canary_that_fails_is_found_by_one_answer_a_second(stable, canary, minutes):
    found = run(clusters(Failures(stable=stable, canary=canary)), 30)
    assert found.rate == 1
    assert found.needed.max() <= minutes


def test_four_metrics_together_keep_to_alpha():
    assert run(four_metrics(), 125).rate <= 0.11


def test_the_signals_together_hold_one_healthy_rollout_in_twenty_at_most():
    assert run(signals(most=3_000), 300).rate <= 0.08


def test_a_first_rollout_bets_within_45_minutes_where_labels_take_ten():
    assert run(first_bet(within(10)), 15).needed.max() <= 45


def test_labels_that_take_days_cost_what_the_ripe_age_does_not_see():
    """Equal mixes of fast and slow labels do no harm; unequal ones need the horizon."""
    days = 20 * DAY
    assert run(first_rollout(mixed(0.6), mixed(0.6), horizon=days), 200).rate <= 0.1
    assert run(first_rollout(mixed(0.6), mixed(0.8), horizon=days), 50).rate >= 0.9
    assert run(first_rollout(mixed(0.6), mixed(0.8), horizon=days, ripe_age=days), 200).rate <= 0.11


@pytest.mark.parametrize("canary_rate", [0.06, 0.14])
def test_many_two_sided_tests_at_once_give_what_each_gives_alone(canary_rate):
    rng, runs = np.random.default_rng(8), 40
    together, alone = TwoSideds(0.05, 500, runs), [TwoSided(alpha=0.05, max_labels=500) for _ in range(runs)]
    for _ in range(15):
        n = rng.integers(1, 300, runs)
        n_b = rng.binomial(n, 0.3)
        e_a, e_b = rng.binomial(n - n_b, 0.1), rng.binomial(n_b, canary_rate)
        together.update(n - n_b, n_b, e_a, e_b, np.arange(runs))
        for test, *block in zip(alone, (n - n_b).tolist(), n_b.tolist(), e_a.tolist(), e_b.tolist(), strict=True):
            test.update(*block)
    assert 0 < together.unhealthy.sum() < runs
    assert together.unhealthy.tolist() == [test.unhealthy for test in alone]
    np.testing.assert_allclose(together.mean, [test.mean for test in alone], rtol=1e-8)
