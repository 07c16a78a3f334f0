"""The ripe age: long enough for stable's slow errors, never longer than the horizon, and soon where labels are fast."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.evidence import POLICY, SECOND, flush

from stream_router.core.deciding.ripeness import ENOUGH, Ripeness
from stream_router.core.evidence import BadDelays
from stream_router.core.histogram import bucket_of

MATURE = POLICY.window + POLICY.label_horizon
DAY = replace(POLICY, window=60 * SECOND, label_horizon=86_400 * SECOND)
MINUTE = 60 * SECOND


def told(ripeness, window, delays, now):
    bad = BadDelays(window, Counter(map(bucket_of, delays)))
    ripeness.on_record(flush(0, bad_delays=(bad,), watermark=now), now)
    return ripeness


def learnt(*delays, now=MATURE, window=0, policy=POLICY):
    return told(Ripeness(policy), window, delays, now)


def observed(draw, minutes, a_minute=30, seed=1):
    """Stable for so many minutes under a horizon of a day: what has come by then."""
    rng, ripeness, now = np.random.default_rng(seed), Ripeness(DAY), minutes * MINUTE
    for minute in range(minutes):
        routed_at = minute * MINUTE + rng.integers(0, MINUTE, a_minute)
        delays = draw(rng, a_minute)
        told(ripeness, minute * MINUTE, delays[routed_at + delays < now].astype(int).tolist(), now)
    return ripeness


def exponential(mean):
    return lambda rng, n: rng.exponential(mean, n)


def test_is_the_98_percent_quantile_of_stables_bad_delays_to_one_part_in_eight():
    delays = np.random.default_rng(1).exponential(8 * SECOND, 5_000).astype(int)
    exact = np.quantile(delays, 0.98)
    assert exact * 0.999 <= learnt(*delays.tolist()).ripe_age <= exact * 1.13


@pytest.mark.parametrize("known", [0, ENOUGH - 1])
def test_is_the_horizon_while_too_little_is_known(known):
    ripeness = learnt(*[SECOND] * known)
    assert ripeness.ripe_age == POLICY.label_horizon
    assert f"{known} are labelled, and 50 are needed" in ripeness.estimate.reason


def test_is_never_longer_than_the_horizon():
    assert learnt(*[POLICY.label_horizon + 5 * SECOND] * 100).ripe_age == POLICY.label_horizon


def test_before_any_watermark_it_is_the_horizon():
    assert learnt(*[SECOND] * 100, now=None).ripe_age == POLICY.label_horizon


@pytest.mark.parametrize(("age", "told_by_it"), [(0, None), (27, None), (28, 10)])
def test_a_younger_window_tells_delays_up_to_a_third_of_its_age(age, told_by_it):
    ripeness = learnt(*[9_700] * 100, now=POLICY.window + age * SECOND)
    expected = POLICY.label_horizon if told_by_it is None else told_by_it * SECOND
    assert expected * 0.95 <= ripeness.ripe_age <= expected * 1.05
    assert ripeness.estimate.basis == ("horizon" if told_by_it is None else "younger windows")


def test_mature_windows_come_before_younger_ones():
    ripeness = learnt(*[SECOND] * ENOUGH)
    told(ripeness, MATURE - POLICY.window - 50 * SECOND, [15 * SECOND] * 1_000, MATURE)
    assert ripeness.ripe_age < 2 * SECOND
    assert ripeness.estimate.basis == "mature windows"


def test_too_few_mature_delays_count_with_the_younger_ones():
    ripeness = learnt(*[15 * SECOND] * (ENOUGH - 1))
    told(ripeness, MATURE - POLICY.window - 50 * SECOND, [15 * SECOND], MATURE)
    assert 14 * SECOND <= ripeness.ripe_age <= 17 * SECOND
    assert "50 bad answers" in ripeness.estimate.reason


def test_one_old_window_with_a_single_fast_label_tells_nothing_of_slow_ones():
    ripeness = told(Ripeness(DAY), 0, [SECOND], 600 * MINUTE)
    seen_of_slow_ones = np.linspace(0, MINUTE - SECOND, 100).astype(int).tolist()
    told(ripeness, 598 * MINUTE, seen_of_slow_ones, 600 * MINUTE)
    assert ripeness.ripe_age == DAY.label_horizon
    assert "too short" in ripeness.estimate.reason


@pytest.mark.parametrize("mean", [MINUTE, 3 * MINUTE])
def test_young_windows_give_the_quantile_that_all_labels_would_give(mean):
    true = -math.log(0.02) * mean
    estimates = [observed(exponential(mean), round(5 * true / MINUTE), seed=seed).ripe_age for seed in range(5)]
    assert 0.85 * true <= np.median(estimates) <= 1.25 * true


def test_slow_labels_keep_it_at_the_horizon():
    assert observed(exponential(30 * MINUTE), 90).ripe_age == DAY.label_horizon


@pytest.mark.parametrize(("wanted", "age"), [(0, 0), (7 * SECOND, 7 * SECOND), (10**9, POLICY.label_horizon)])
def test_the_policy_comes_first_and_is_no_longer_than_the_horizon(wanted, age):
    ripeness = learnt(*[3 * SECOND] * 100, policy=replace(POLICY, ripe_age=wanted))
    assert ripeness.ripe_age == age
    assert "the policy says so" in ripeness.estimate.reason


def test_says_why_in_words():
    mature, younger = learnt(*[6_900] * 120), learnt(*[6_900] * 120, now=POLICY.window + 60 * SECOND)
    said = "ripe age 7.17 s: 98 % of stable's 120 bad answers are labelled by then "
    assert mature.estimate.reason == said + "(windows older than the label horizon)"
    assert younger.estimate.reason == said + "(windows younger than the label horizon, corrected)"
    assert Ripeness(DAY).estimate.reason.startswith("ripe age 86,400 s, the label horizon: ")


def test_a_verdict_is_possible_once_the_window_of_the_first_request_is_ripe():
    estimate = learnt(*[6_900] * 120).estimate
    assert estimate.verdict_from(POLICY, 25 * SECOND) == 20 * SECOND + POLICY.window + estimate.ms


records = st.lists(
    st.tuples(st.integers(0, 30), st.lists(st.integers(0, 100 * SECOND), max_size=80), st.integers(0, 40)), max_size=12
)


@settings(deadline=None, max_examples=60)
@given(records)
def test_a_snapshot_is_invisible(record_list):
    through = restored = Ripeness(POLICY)
    now = 0
    for window, delays, later in record_list:
        now += later * 10 * SECOND
        for ripeness in {id(through): through, id(restored): restored}.values():
            told(ripeness, window * POLICY.window, delays, now)
        restored = Ripeness.restored(POLICY, restored.state())
        assert restored.estimate == through.estimate
        assert 0 <= restored.ripe_age <= POLICY.label_horizon
