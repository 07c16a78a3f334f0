"""The e-process: fair under the null, exact at its threshold, frozen once unhealthy."""

import copy
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_router.core.deciding import e_process
from stream_router.core.deciding.e_process import Boost, EProcess, boosted
from stream_router.core.deciding.hypergeometric import support
from stream_router.core.policy import Policy

blocks = st.integers(0, 80).flatmap(
    lambda n_a: st.integers(0, 40).flatmap(
        lambda n_b: st.tuples(st.just(n_a), st.just(n_b), st.integers(0, n_a), st.integers(0, n_b)),
    ),
)
policies = st.builds(
    Policy,
    alpha=st.sampled_from([0.3, 0.05, 0.01]),
    tolerated_odds_ratio=st.sampled_from([1.0, 1.5]),
    max_labels=st.just(200),
)


def of(policy: Policy, kind: type[EProcess] = EProcess) -> EProcess:
    return kind(alpha=policy.alpha, psi0=policy.tolerated_odds_ratio, max_labels=policy.max_labels)


def mean_factor(test: EProcess, n_a: int, n_b: int, bad: int, tolerated_odds_ratio: float) -> float:
    """Mean under the null of what the next block with these margins multiplies the evidence by."""
    possible = support(n_a, n_b, bad)
    weights = [math.comb(n_b, x) * math.comb(n_a, bad - x) * tolerated_odds_ratio**x for x in possible]
    mean = 0.0
    for x, weight in zip(possible, weights, strict=True):
        after = copy.deepcopy(test)
        after.update(n_a, n_b, bad - x, x)
        mean += weight / sum(weights) * math.exp(after.state.total - test.state.total)
    return mean


@settings(max_examples=150, deadline=None)
@given(policies, st.lists(blocks, max_size=8), blocks)
def test_under_the_null_every_block_multiplies_the_evidence_by_one_in_the_mean(policy, history, block):
    test = of(policy)
    for earlier in history:
        test.update(*earlier)
    if not test.unhealthy:
        n_a, n_b, e_a, e_b = block
        mean = mean_factor(test, n_a, n_b, e_a + e_b, policy.tolerated_odds_ratio)
        assert mean == pytest.approx(1.0, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(blocks, max_size=6), blocks, st.floats(0.2, 1.0))
def test_a_better_canary_never_gains_evidence_in_the_mean(history, block, odds):
    test = of(Policy())
    for earlier in history:
        test.update(*earlier)
    if not test.unhealthy:
        n_a, n_b, e_a, e_b = block
        assert mean_factor(test, n_a, n_b, e_a + e_b, odds) <= 1.0 + 1e-6


def test_the_mean_would_show_a_boost_that_forgets_the_cap(monkeypatch):
    def unfair(log_null, log_bet, log_cap):
        fair = boosted(log_null, log_bet, log_cap)
        return Boost(fair.log_b + 0.01, fair.capped)

    monkeypatch.setattr(e_process, "boosted", unfair)
    assert mean_factor(of(Policy()), 90, 10, 15, 1.0) > 1.001


def test_the_mean_would_show_capital_that_moves_once_the_outcome_is_known():
    class Hindsight(EProcess):
        def update(self, n_a, n_b, e_a, e_b):
            self.state.log_invested[7 if e_b > 2 else 0] += 0.5
            super().update(n_a, n_b, e_a, e_b)

    assert mean_factor(of(Policy(), Hindsight), 90, 10, 15, 1.0) != pytest.approx(1.0, abs=1e-3)


@given(st.floats(1e-6, 0.5), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_a_verdict_lies_exactly_on_the_threshold(alpha, seed):
    rng = np.random.default_rng(seed)
    test = of(Policy(alpha=alpha))
    while not test.unhealthy:
        assert test.e_value < test.threshold
        test.update(90, 10, int(rng.binomial(90, 0.05)), int(rng.binomial(10, 0.6)))
    assert test.e_value == test.threshold == 1 / alpha
    assert test.state.total == -math.log(alpha)


def test_unhealthy_is_final():
    test = of(Policy())
    while not test.unhealthy:
        test.update(90, 10, 2, 9)
    frozen = copy.deepcopy(test.state)
    test.update(90, 10, 90, 0)
    np.testing.assert_array_equal(test.state.log_invested, frozen.log_invested)
    assert (test.state.total, test.state.cash, test.state.blocks) == (frozen.total, frozen.cash, frozen.blocks)


@pytest.mark.parametrize("block", [(0, 0, 0, 0), (90, 0, 9, 0), (0, 10, 0, 5), (90, 10, 0, 0), (90, 10, 90, 10)])
def test_a_block_that_compares_nothing_leaves_the_e_value(block):
    test = of(Policy())
    for _ in range(3):
        test.update(*block)
    assert test.e_value == pytest.approx(1.0)
    assert test.state.blocks == 3


def test_a_huge_block_is_one_bet_like_any_other():
    test = of(Policy())
    test.update(4_000_000, 400_000, 400_000, 40_000)
    assert not test.unhealthy
    assert 0 < test.e_value < 1.001
    test.update(4_000_000, 400_000, 400_000, 44_000)
    assert test.unhealthy


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.4))
def test_the_e_value_stays_a_number_when_all_capital_is_invested_and_blocks_are_huge(seed, canary_error):
    rng = np.random.default_rng(seed)
    test = of(Policy(max_labels=1))
    for n_b in rng.integers(0, 20_000, 20).tolist():
        test.update(20_000, n_b, int(rng.binomial(20_000, 0.2)), int(rng.binomial(n_b, canary_error)))
        assert math.isfinite(test.state.total)
        assert 0 <= test.e_value <= test.threshold
    assert test.unhealthy or canary_error < 0.25


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=30))
def test_capital_is_released_by_labels_and_never_more_than_there_is(canary_labels):
    policy = Policy(max_labels=500)
    test = of(policy)
    for n_b in canary_labels:
        test.update(0, n_b, 0, 0)
    assert test.state.cash == pytest.approx(0.25 * max(0.0, 1 - sum(canary_labels[1:]) / 500), abs=1e-12)
    assert np.exp(test.state.log_invested).sum() + test.state.cash == pytest.approx(1.0)


def test_more_bad_outcomes_than_outcomes_are_refused():
    with pytest.raises(ValueError, match="11 bad of 10"):
        of(Policy()).update(90, 10, 9, 11)
