"""A limit is broken exactly if canary's newest windows, with enough in them, have passed it."""

from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_router.core.deciding.limits import Limits
from stream_router.core.deciding.windows import Windows
from stream_router.core.evidence import Count
from stream_router.core.histogram import bucket_of
from stream_router.core.policy import CLOCK_SKEW_MS, Limit, Policy
from stream_router.core.routing.applied_split import Versions

POLICY = Policy(window=100, label_horizon=1_000, prediction_deadline=50)
ROLLOUT, RIPE_AFTER = 3, 300
VERSIONS = Versions("6", "7")


def count(number, lane="canary", **fields):
    """Of the window of that number."""
    of = {"rollout": ROLLOUT, "lane": lane, "model_version": {"stable": "6", "canary": "7"}[lane]}
    return Count(**{"window": number * 100, **of, **fields})


def broken(counts, *limits, until, versions=VERSIONS, forgotten=None):
    windows = Windows(POLICY)
    windows.add(0, counts)
    windows.drop_changed()
    if forgotten is not None:
        windows.forget(forgotten)
    policy = Policy(limits=limits)
    return Limits(policy, ROLLOUT, versions, ripe_after=RIPE_AFTER).broken(windows, until)


def said(*arguments, **named):
    found = broken(*arguments, **named)
    return found and found.sentence


windows = st.builds(
    count,
    st.integers(0, 7),
    st.sampled_from(["canary", "stable"]),
    rollout=st.sampled_from([ROLLOUT, ROLLOUT, 2]),
    model_version=st.sampled_from(["6", "7", "7"]),
    predicted=st.integers(0, 20),
    labelled=st.integers(0, 12),
).flatmap(
    lambda one: st.builds(
        lambda errors, correct: Count(**{**fields_of(one), "errors": errors, "correct": correct}),
        st.integers(0, one.predicted),
        st.integers(0, one.labelled),
    )
)
BOUNDS = [number / 20 for number in range(21)]
"""All are tried: the one next to what canary has tells whether that was told right."""


def fields_of(one):
    names = ("window", "rollout", "lane", "model_version", "predicted", "errors", "labelled", "correct")
    return {name: getattr(one, name) for name in names}


class Looked(NamedTuple):
    """What a limit looks at, but for its bound."""

    windows: int
    predictions: int

    def limit(self, metric, bound):
        return Limit(metric=metric, bound=bound, **self._asdict())


looked = st.builds(Looked, st.integers(1, 4), st.integers(1, 20))


def together(counts, lane, version, ended_by, rollout=None, *, with_labels=False):
    """Sums of each window, newest first."""
    by_window = {}
    for one in counts:
        wanted = one.lane == lane and version in (None, one.model_version) and rollout in (None, one.rollout)
        if wanted and one.window + 100 <= ended_by:
            sums = by_window.setdefault(one.window, [0, 0, 0, 0])
            for at, name in enumerate(("predicted", "errors", "labelled", "correct")):
                sums[at] += getattr(one, name)
    newest = [np.array(by_window[window]) for window in sorted(by_window, reverse=True)]
    return [sums for sums in newest if sums[2] or not with_labels]


def total_of(sums):
    return [int(number) for number in sum(sums, np.zeros(4, np.int64))]


@given(st.lists(windows, max_size=40), looked, st.integers(0, 1_000), st.sampled_from([VERSIONS, Versions()]))
def test_the_error_rate_of_the_newest_complete_windows(counts, look, until, versions):
    newest = together(counts, "canary", versions.canary, until, ROLLOUT)[: look.windows]
    predicted, errors, *_ = total_of(newest)
    for limit in (look.limit("error_rate", bound) for bound in BOUNDS):
        found = broken(counts, limit, until=until, versions=versions)
        passed = predicted >= limit.predictions and Fraction(errors, predicted) > Fraction(str(limit.bound))
        assert (found is not None) == passed
        if found:
            assert found.limit == limit
            assert f"({errors} of {predicted} requests in {len(newest)} window" in found.sentence


@given(
    st.lists(windows, max_size=60),
    looked,
    st.integers(500, 1_500),
    st.none() | st.integers(CLOCK_SKEW_MS + 1_200, CLOCK_SKEW_MS + 2_200),
)
def test_the_accuracy_of_the_newest_ripe_windows_with_labels_also_of_forgotten_ones(counts, look, until, forgotten):
    ripe = until - RIPE_AFTER
    newest = together(counts, "canary", "7", ripe, ROLLOUT, with_labels=True)[: look.windows]
    _, _, labelled, correct = total_of(newest)
    last = together(counts, "stable", "6", ripe, with_labels=True)
    sizes = [n for n in range(look.windows, len(last) + 1) if total_of(last[:n])[2] >= look.predictions]
    _, _, stable_labelled, stable_correct = total_of(last[: sizes[0]] if sizes else last)
    enough = labelled >= look.predictions
    enough_of_both = enough and stable_labelled >= look.predictions
    for bound in BOUNDS:
        exact = Fraction(str(bound))
        below = enough and Fraction(correct, labelled) < exact
        found = broken(counts, look.limit("accuracy", bound), until=until, forgotten=forgotten)
        assert (found is not None) == below
        dropped = enough_of_both and Fraction(stable_correct, stable_labelled) - Fraction(correct, labelled) > exact
        found = broken(counts, look.limit("accuracy_drop", bound), until=until, forgotten=forgotten)
        assert (found is not None) == dropped


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3_000)), min_size=1, max_size=60),
    st.sampled_from(["latency_p50", "latency_p99", "model_latency_p50", "model_latency_p99"]),
    st.integers(1, 3_500),
)
def test_a_latency_that_breaks_its_limit_is_above_it_and_one_far_above_it_breaks_it(latencies, metric, bound):
    """Buckets of 1 part in 8 tell no more."""
    histogram = "model_latencies" if metric.startswith("model") else "latencies"
    counts = [count(number, predicted=1, **{histogram: {bucket_of(value): 1}}) for number, value in latencies]
    q = 0.5 if metric.endswith("p50") else 0.99
    exact = int(np.quantile([value for _, value in latencies], q, method="inverted_cdf"))
    limit = Limit(metric=metric, bound=bound / 1000, windows=4, predictions=len(latencies))
    found = broken(counts, limit, until=10_000)
    assert exact > bound if found else exact <= bound * 9 / 8
    too_few = Limit(metric=metric, bound=bound / 1000, windows=4, predictions=len(latencies) + 1)
    assert broken(counts, too_few, until=10_000) is None


def test_each_limit_says_its_numbers_in_one_sentence():
    errors = [count(number, predicted=100, errors=12) for number in range(5)]
    assert said(errors, Limit(metric="error_rate", bound=0.05), until=1_000) == (
        "canary 7 breaks its limit: error rate 12.0 % (36 of 300 requests in 3 windows) is above 5 %"
    )
    labels = [count(1, labelled=100, correct=71), count(1, "stable", labelled=300, correct=270)]
    assert said(labels, Limit(metric="accuracy", bound=0.8), until=1_000) == (
        "canary 7 breaks its limit: accuracy 71.0 % (71 of 100 labels in 1 window) is below 80 %"
    )
    assert said(labels, Limit(metric="accuracy_drop", bound=0.05), until=1_000) == (
        "canary 7 breaks its limit: accuracy 71.0 % (71 of 100 labels in 1 window) is 19.0 points below the last known "
        "of stable 6, 90.0 % (270 of 300 labels in 1 window), which is above 5 points"
    )
    slow = [count(1, predicted=300, model_latencies={bucket_of(250): 300})]
    assert said(slow, Limit(metric="model_latency_p99", bound=0.2), until=1_000, versions=Versions()) == (
        "canary (any version) breaks its limit: p99 of model latency, at least 0.24 s (300 requests in 1 window), "
        "is above 0.2 s"
    )


def test_the_first_broken_limit_of_the_policy_is_told():
    counts = [count(1, predicted=100, errors=12)]
    limits = [Limit(metric="error_rate", bound=bound) for bound in (0.5, 0.1, 0.05)]
    assert broken(counts, *limits, until=1_000).limit == limits[1]
    assert broken(counts, until=1_000) is None


@pytest.mark.parametrize("rollout", [ROLLOUT - 1, ROLLOUT])
def test_a_canary_with_all_requests_is_held_against_what_stable_last_was(rollout):
    """Long after stable's windows are forgotten, and also if these are of the time before the rollout."""
    windows = Windows(POLICY)
    windows.add(0, [count(0, "stable", rollout=rollout, predicted=200, labelled=200, correct=180)])
    later = 100 * CLOCK_SKEW_MS
    windows.forget(later)
    assert list(windows) == []
    windows.add(1, [count(later // 100, predicted=200, labelled=200, correct=160)])
    limits = Limits(
        Policy(limits=(Limit(metric="accuracy_drop", bound=0.05),)), ROLLOUT, VERSIONS, ripe_after=RIPE_AFTER
    )
    assert limits.broken(windows, later + 100 + RIPE_AFTER - 1) is None
    found = limits.broken(windows, later + 100 + RIPE_AFTER)
    assert found is not None
    assert "80.0 % (160 of 200 labels in 1 window) is 10.0 points below the last known of stable 6" in found.sentence


def test_just_the_bound_breaks_nothing():
    """In floating-point numbers 0.9 - 0.85 is more than 0.05, and 0.29 * 100 less than 29."""
    counts = [
        count(1, predicted=100, errors=29, labelled=100, correct=85),
        count(1, "stable", labelled=100, correct=90),
    ]
    for metric, bound, further in (
        ("accuracy_drop", 0.05, 0.049),
        ("error_rate", 0.29, 0.289),
        ("accuracy", 0.85, 0.851),
    ):
        assert broken(counts, Limit(metric=metric, bound=bound), until=1_000) is None
        assert broken(counts, Limit(metric=metric, bound=further), until=1_000) is not None


def test_stable_is_known_from_as_many_windows_as_canary_or_more_where_these_have_too_few_labels():
    counts = [count(9, labelled=50, correct=25)]
    counts += [
        count(number, "stable", labelled=10, correct=correct) for number, correct in enumerate([0, 0, 10, 0, 10])
    ]
    for windows, predictions, told in ((1, 10, "10 of 10"), (2, 10, None), (1, 50, None), (3, 1, "20 of 30")):
        limit = Limit(metric="accuracy_drop", bound=0.1, windows=windows, predictions=predictions)
        sentence = said(counts, limit, until=10_000)
        assert (told in sentence) if told else sentence is None
