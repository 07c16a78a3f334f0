"""What benchmarks/decision.py shows, in small: how often a healthy canary is called unhealthy, how soon a bad one is.

Bounds on rates leave three standard errors of the number of runs; every case is seeded.
"""

import numpy as np
import pytest
from decision_cases import changing, constant, delayed, drift_and_ramp, entities, late_change


@pytest.mark.parametrize(
    "case", [constant(0.10, 0.1, 0.1), constant(0.25, 0.3, 0.3), changing(drift_and_ramp)], ids=["10%", "25%", "drift"]
)
def test_a_healthy_canary_is_rarely_called_unhealthy(case):
    assert case(600, np.random.default_rng(1)).rate <= 0.076


def test_a_canary_of_085_is_found_soon():
    result = constant(0.10, 0.1, 0.15)(1_000, np.random.default_rng(2))
    assert result.decided.all()
    assert np.median(result.needed) <= 300
    assert np.quantile(result.needed, 0.9) <= 740


def test_a_canary_that_turns_bad_late_is_found_as_soon():
    result = late_change(7_500, 0.15)(500, np.random.default_rng(3))
    assert result.rate == 1
    assert np.median(result.needed) <= 780


def test_errors_labelled_earlier_in_canary_do_not_count_against_it_once_ripe():
    assert delayed(8, 2)(400, np.random.default_rng(4)).rate <= 0.09


def test_the_rate_would_show_a_test_that_bets_as_labels_come():
    assert delayed(8, 2, ripe=False)(100, np.random.default_rng(4)).rate >= 0.5


@pytest.mark.parametrize("bursts", [True, False])
def test_entities_that_come_back_count_once(bursts):
    assert entities(300, bursts=bursts)(500, np.random.default_rng(5)).rate <= 0.07
