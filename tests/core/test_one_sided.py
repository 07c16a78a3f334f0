"""Metrics that ask whether canary is worse: what is bad, by what was known before, and never too often."""

import copy
import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.evidence import POLICY, VERSIONS

from stream_router.adapters.arrays import pack, unpack
from stream_router.core.deciding.blocks import Block
from stream_router.core.deciding.metrics import latency as latency_module
from stream_router.core.deciding.metrics.latency import LatencyTest, latency, quantile_of
from stream_router.core.deciding.metrics.registry import judged
from stream_router.core.deciding.rows import ROW
from stream_router.core.evidence import RolloutStarted
from stream_router.core.policy import METRICS, Policy

STARTED = RolloutStarted(rollout=1, versions=VERSIONS, ripe_age=0, first_offset=0, policy=POLICY)
WEIGHTS = {"accuracy": 0.6, "error_rate": 0.2, "latency_p50": 0.07, "latency_p99": 0.13}
FOUR = replace(
    POLICY,
    metrics=tuple(
        replace(metric, role="guardrail", weight=WEIGHTS[metric.name]) for metric in METRICS if metric.name in WEIGHTS
    ),
)


def rows(bad=None, value=None):
    """Outcomes that are bad, or have a value."""
    found = np.zeros(len(bad if bad is not None else value), ROW)
    found["bad"] = False if bad is None else bad
    found["value"] = np.nan if value is None else value
    return found


def block(stable, canary, kind="latency"):
    return Block(rollout=1, metric=kind, epoch=1, digest="d", opened_at=0, stable=stable, canary=canary)


def judges(policy=POLICY, only=tuple(WEIGHTS)):
    started = replace(STARTED, policy=policy)
    return {metric.name: metric.test(started, {}) for metric, _ in judged(policy) if metric.name in only}


def slow(stable, canary):
    return block(rows(value=stable), rows(value=canary))


def p99(policy=POLICY):
    return LatencyTest(latency("latency_p99", 0.99), policy)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.sampled_from([0.5, 0.99, 0.01, 1.0]))
def test_a_quantile_is_the_least_value_that_so_large_a_part_does_not_pass(values, q):
    found = quantile_of(np.array(values), q)
    assert found in values
    assert sum(value <= found for value in values) >= q * len(values)
    assert sum(value < found for value in values) < q * len(values)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 0.99]))
def test_slow_is_what_is_slower_than_the_quantile_of_stables_newest_outcomes_of_earlier_blocks(seed, q):
    """Held against sorted lists; the quantile is as old as a twentieth of the values at most."""
    rng = np.random.default_rng(seed)
    test, known, bound, fresh = LatencyTest(latency("latency_p50", q), POLICY), [], None, 0
    for number in range(120):
        drift = 1 + number / 50
        sizes = int(rng.integers(0, 400)), int(rng.integers(0, 20))
        stable, canary = (np.round(rng.lognormal(0, 1, n) * drift, 1) for n in sizes)
        if rng.random() < 0.1 and len(stable):
            stable[0] = np.nan
        before = test.numbers
        test.update(slow(stable, canary))
        after = test.numbers
        expected = 0 if bound is None else sum(value > bound for value in canary.tolist())
        assert after.canary_bad - before.canary_bad == expected
        assert (after.blocks > before.blocks) is (bound is not None)
        usable = [value for value in stable.tolist() if not math.isnan(value)]
        known, fresh = (known + usable)[-10_000:], fresh + len(usable)
        if len(known) >= 1_000 and (bound is None or fresh >= 0.05 * len(known)):
            bound, fresh = sorted(known)[max(math.ceil(q * len(known)) - 1, 0)], 0
    assert bound is not None


def mean_factor(test, values, canary):
    """What a block multiplies the e-value by in the mean, over every way to draw canary's outcomes from all."""
    factors = []
    for chosen in combinations(range(len(values)), canary):
        after = copy.deepcopy(test)
        is_canary = np.isin(np.arange(len(values)), chosen)
        after.update(slow(values[~is_canary], values[is_canary]))
        factors.append(after.e_value / test.e_value)
    return sum(factors) / len(factors)


def warmed_up(kind=LatencyTest):
    test = kind(latency("latency_p50", 0.5), POLICY)
    test.update(slow(np.arange(1_000) / 1_000, np.zeros(0)))
    return test


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=4, max_size=8), st.integers(1, 3))
def test_where_lanes_are_drawn_at_random_a_block_multiplies_the_evidence_by_one_in_the_mean(values, canary):
    assert mean_factor(warmed_up(), np.array(values), canary) == pytest.approx(1.0, abs=1e-9)


def test_the_mean_would_show_a_bound_that_knows_the_block():
    class Peeking(LatencyTest):
        def bad(self, block):
            self._bound = float(np.median(block.stable["value"]))
            return super().bad(block)

    assert mean_factor(warmed_up(Peeking), np.arange(8) / 8, 2) != pytest.approx(1.0, abs=1e-3)


def rollout(rng, test_of, blocks, *, worse=1.0, a_block=100, share=0.1, fails=0.02):
    """Whether any test is unhealthy in the end: with drift that both lanes share, `worse` for canary alone."""
    for number in range(blocks):
        part = number / blocks
        n_b = int(rng.binomial(a_block, share))
        lanes = []
        for lane_worse, n in ((1.0, a_block - n_b), (worse, n_b)):
            wrong, failed = (0.05 + 0.1 * part) * lane_worse, fails * (1 + part) * lane_worse
            took = rng.lognormal(-3 + part, 0.4, n) * lane_worse
            lanes.append((rows(rng.random(n) < wrong), rows(rng.random(n) < failed), rows(value=took)))
        for name, test in test_of.items():
            column = {"accuracy": 0, "error_rate": 1}.get(name, 2)
            test.update(block(lanes[0][column], lanes[1][column]))
    return [name for name, test in test_of.items() if test.unhealthy]


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_healthy_canary_is_rarely_called_unhealthy_although_both_lanes_drift(name):
    """150 runs at a level of 0.2, of which 0.2 + two standard deviations are 40."""
    policy = replace(POLICY, alpha=0.2, metrics=tuple(replace(metric, weight=1.0) for metric in METRICS))
    unhealthy = sum(bool(rollout(np.random.default_rng([1, seed]), judges(policy, (name,)), 60)) for seed in range(150))
    assert unhealthy <= 40


def test_four_metrics_at_once_call_a_healthy_canary_unhealthy_no_more_often_than_alpha():
    """200 runs: 5 % are 10, and two standard deviations more are 16."""
    unhealthy = sum(bool(rollout(np.random.default_rng([2, seed]), judges(FOUR), 60)) for seed in range(200))
    assert unhealthy <= 16


@pytest.mark.parametrize("name", WEIGHTS)
def test_each_metric_finds_what_is_bad_by_it(name):
    """So that the rare calls above are no silence."""
    found = sum(
        bool(rollout(np.random.default_rng([3, seed]), judges(FOUR, (name,)), 150, worse=2.5)) for seed in range(5)
    )
    assert found == 5


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 39))
def test_a_test_restored_from_its_state_goes_on_as_it_would_have(seed, moved_at):
    rng, going, moving = np.random.default_rng(seed), judges(FOUR), judges(FOUR)
    for number in range(40):
        if number == moved_at:
            states = unpack(pack({name: test.state() for name, test in moving.items()}))
            moving = judges(FOUR)
            for name, test in moving.items():
                test.restore(states[name])
        n_a, n_b = int(rng.integers(0, 200)), int(rng.integers(0, 20))
        one = block(*(rows(rng.random(n) < 0.1, rng.lognormal(0, 1, n)) for n in (n_a, n_b)))
        for test in [*going.values(), *moving.values()]:
            test.update(one)
        for name, test in going.items():
            other = moving[name]
            assert (test.e_value, test.numbers) == (other.e_value, other.numbers)
            assert test.sentence("stable 6", "canary 7") == other.sentence("stable 6", "canary 7")


def test_the_tolerated_odds_ratio_is_for_answers_and_not_for_their_speed():
    policy = replace(POLICY, tolerated_odds_ratio=3.0)
    strict, lax = judges(POLICY), judges(policy)
    for test in (strict, lax):
        rollout(np.random.default_rng(5), test, 60, worse=2.0)
    assert lax["accuracy"].e_value < strict["accuracy"].e_value
    assert lax["error_rate"].e_value < strict["error_rate"].e_value
    assert lax["latency_p50"].e_value == strict["latency_p50"].e_value


def test_alpha_is_shared_by_weight():
    assert [1 / test.threshold for test in judges(FOUR).values()] == pytest.approx([0.03, 0.01, 0.0035, 0.0065])
    assert judged(Policy(metrics=(replace(METRICS[0], weight=0.0), replace(METRICS[1], role="off")))) == []


def unhealthy_sentence(name, stable, canary):
    test = judges(FOUR, (name,))[name]
    while not test.unhealthy:
        test.update(block(stable, canary))
    return test.sentence("stable 6", "canary 7")


def flags(bad, all_of):
    return rows(np.arange(all_of) < bad)


WORSE = (
    "canary 7 is less accurate than stable 6: 0.600 (60 of 100 labels) against 0.990 (891 of 900), "
    "difference -0.390 (95 % -0.488 to -0.299); e-value reached 33.33 = 1/(weight · alpha) after 1 block"
)
FAILING = (
    "canary 7 fails more often than stable 6: 40.0 % (40 of 100 sampled answers) against 1.0 % (9 of 900), "
    "difference +39.0 points (95 % +29.9 to +48.8); e-value reached 100 = 1/(weight · alpha) after 1 block"
)


@pytest.mark.parametrize(("name", "says"), [("accuracy", WORSE), ("error_rate", FAILING)])
def test_sentences_name_their_numbers_in_words_of_their_unit(name, says):
    assert unhealthy_sentence(name, flags(9, 900), flags(40, 100)) == says


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "latency_p99",
            "canary 7 answers slower than stable 6's p99 of 83 ms in 50.0 % of 10 batches against 0.0 % of",
        ),
        (
            "latency_p50",
            "canary 7 answers slower than stable 6's p50 of 83 ms in 50.0 % of 10 batches against 0.0 % of",
        ),
        (
            "model_latency_p99",
            "canary 7 computes longer than stable 6's p99 of model time of 83 ms in 50.0 % of 10 batches against",
        ),
    ],
)
def test_a_slow_canary_is_told_by_stables_quantile(name, says):
    policy = replace(POLICY, metrics=tuple(replace(metric, weight=1.0) for metric in METRICS))
    test = judges(policy, (name,))[name]
    assert "0 of the 1,000 batches of stable" in test.sentence("stable 6", "canary 7")
    test.update(slow(np.full(1_000, 0.083), np.zeros(0)))
    assert "nothing is known yet of canary 7 against stable 6: 0 and 0 batches" in test.sentence("stable 6", "canary 7")
    test.update(slow(np.full(90, 0.083), np.repeat([0.083, 0.2], 5)))
    assert test.unhealthy
    assert test.sentence("stable 6", "canary 7").startswith(says)


def test_what_is_not_shown_is_not_claimed():
    for name, test in judges(FOUR).items():
        test.update(slow(np.full(1_000, 0.0012), np.zeros(0)))
        test.update(block(rows(np.zeros(90, bool), np.full(90, 0.001)), rows(np.zeros(10, bool), np.full(10, 0.001))))
        assert "is not shown to" in test.sentence("stable 6", "canary 7"), name
        assert ("1.2 ms" in test.sentence("stable 6", "canary 7")) is name.startswith("latency")


def test_stables_newest_outcomes_count(monkeypatch):
    monkeypatch.setattr(latency_module, "KEPT", 2_000)
    test = p99()
    for value in (0.1, 0.2, 0.3):
        test.update(slow(np.full(1_000, value), np.zeros(0)))
    assert "p99 of 300 ms" in compared(test)


def compared(test):
    """The sentence once both lanes have an outcome."""
    test.update(slow(np.full(1, 0.3), np.full(1, 0.1)))
    return test.sentence("stable 6", "canary 7")
