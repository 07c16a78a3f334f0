"""The forward test: never in favour of a canary that is worse by the margin, soon in favour of an equal one."""

import copy
import math

import numpy as np
import pytest
from decision_cases import constant, healthy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binom
from vectorised_decision import ForwardTests

from stream_router.core.deciding.forward import ForwardTest, expected_rate, nearest_null

blocks = st.tuples(st.integers(0, 60), st.integers(0, 30)).flatmap(
    lambda sizes: st.tuples(*map(st.just, sizes), st.integers(0, sizes[0]), st.integers(0, sizes[1]))
)
margins = st.sampled_from([0.005, 0.02, 0.1, 0.5])
parts = st.integers(0, 1000).map(lambda number: number / 1000)


def warmed_up(margin, stable=400, bad=40, beta=0.05):
    test = ForwardTest(margin, beta)
    test.update(stable, 0, bad, 0)
    return test


def mean_factor(test, n_a, n_b, stable_rate, canary_rate):
    """What the next block multiplies the e-value by in the mean, at these rates."""
    stable, canary = (binom.pmf(range(n + 1), n, rate).tolist() for n, rate in ((n_a, stable_rate), (n_b, canary_rate)))
    mean = 0.0
    for e_a, probability_a in enumerate(stable):
        for e_b, probability_b in enumerate(canary):
            after = copy.deepcopy(test)
            after.update(n_a, n_b, e_a, e_b)
            mean += probability_a * probability_b * math.exp(after.state.total - test.state.total)
    return mean


@settings(max_examples=60, deadline=None)
@given(margins, st.integers(0, 400), st.integers(0, 12), st.integers(0, 6), parts, parts)
def test_no_canary_that_is_worse_by_the_margin_gains_in_the_mean(margin, bad, n_a, n_b, at, more):
    stable_rate = at * (1 - margin)
    canary_rate = stable_rate + margin + more * (1 - margin - stable_rate)
    assert mean_factor(warmed_up(margin, bad=bad), n_a, n_b, stable_rate, canary_rate) <= 1 + 1e-9


def test_the_mean_would_show_a_null_that_is_not_the_nearest(monkeypatch):
    monkeypatch.setattr("stream_router.core.deciding.forward.nearest_null", lambda _a, _b, rate, _margin: rate)
    assert mean_factor(warmed_up(0.02), 12, 6, 0.05, 0.07) > 1.001


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 1000), st.integers(1, 100), st.floats(0.001, 0.4), margins)
def test_the_nearest_null_has_the_least_divergence(n_a, n_b, rate, margin):
    def divergence(phi):
        return sum(
            n * (rate * math.log(rate / null) + (1 - rate) * math.log((1 - rate) / (1 - null)))
            for n, null in ((n_a, phi), (n_b, phi + margin))
        )

    phi = nearest_null(n_a, n_b, rate, margin)
    best = minimize_scalar(divergence, bounds=(1e-9, 1 - margin - 1e-9), method="bounded", options={"xatol": 1e-9})
    assert divergence(phi) <= best.fun + 1e-7


@settings(max_examples=50, deadline=None)
@given(st.lists(blocks, min_size=1, max_size=12), margins)
def test_the_vectorised_test_is_the_same(history, margin):
    alone, together = ForwardTest(margin, 0.05), ForwardTests(margin, 0.05, 3)
    for block in history:
        alone.update(*block)
        together.update(*(np.array([number] * 2) for number in block), np.array([0, 2]))
    assert together.total[[0, 2]] == pytest.approx([alone.state.total] * 2, abs=1e-9)
    assert together.healthy.tolist() == [alone.healthy, False, alone.healthy]
    assert together.total[1] == 0


def test_nothing_is_bet_before_stable_is_known():
    test = ForwardTest(0.02, 0.05)
    test.update(49, 1_000, 5, 0)
    assert test.e_value == 1
    test.update(2, 0, 0, 0)
    test.update(100, 1_000, 10, 100)
    assert test.e_value != 1


def test_what_was_proven_stays_proven():
    test = warmed_up(0.05)
    while not test.healthy:
        test.update(90, 10, 9, 1)
    assert test.e_value >= test.threshold == 20
    for _ in range(100):
        test.update(90, 10, 9, 10)
    assert test.healthy
    assert test.e_value < 1


def test_old_outcomes_of_stable_count_less_and_less():
    test = warmed_up(0.02, stable=20_000, bad=200)
    test.update(20_000, 0, 6_000, 0)
    assert 0.25 < expected_rate(test.state.stable, test.state.stable_bad, 0.02) < 0.3


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1, math.nan])
def test_a_margin_that_is_none_is_refused(margin):
    with pytest.raises(ValueError, match="margin"):
        ForwardTest(margin, 0.05)


@pytest.mark.parametrize("block", [(1, 1, 2, 0), (1, 1, 0, 2), (1, 1, -1, 0)])
def test_a_block_with_more_bad_ones_than_outcomes_is_refused(block):
    with pytest.raises(ValueError, match="block"):
        ForwardTest(0.02, 0.05).update(*block)


def test_rates_of_verdicts_in_small():
    rng = np.random.default_rng(3)
    assert constant(0.1, 0.1, 0.12, healthy(0.02))(300, rng).rate <= 0.08
    equal = constant(0.1, 0.1, 0.1, healthy(0.02))(300, rng)
    assert equal.rate == 1
    assert np.median(equal.needed) <= 1_500


@given(st.floats(0, 1, exclude_min=True, exclude_max=True), st.lists(blocks, min_size=1, max_size=5))
def test_no_margin_between_0_and_1_is_too_large_for_a_bet(margin, some):
    """The settings take each of them, and a rollout's policy stands in the log for good."""
    test = warmed_up(margin)
    for block in some:
        test.update(*block)
    assert not math.isnan(test.state.total)
