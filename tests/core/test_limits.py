"""A limit is broken exactly if canary's newest windows, with enough in them, have passed it."""

from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_router.core.deciding.limits import Limits
from stream_router.core.deciding.windows import Windows
from stream_router.core.evidence import Count, RolloutStarted
from stream_router.core.histogram import bucket_of
from stream_router.core.policy import CLOCK_SKEW_MS, Limit, Policy
from stream_router.core.routing.applied_split import Versions

POLICY = Policy(window=100, label_horizon=1_000, prediction_deadline=50)
ROLLOUT, LABEL_AGE = 3, 300
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
    return limited(*limits, versions=versions).broken(windows, until)


def limited(*limits, versions=VERSIONS):
    """Answers may take 50 ms, labels 300."""
    policy = replace(POLICY, limits=limits)
    return Limits(
        RolloutStarted(
            rollout=ROLLOUT, versions=versions, ripe_age=0, first_offset=0, policy=policy, label_age=LABEL_AGE
        )
    )


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


def is_broken(parts, look, beyond):
    """Of a part (found, of) a window, newest first: all together are beyond, and still without what happened once."""
    sums = [tuple(map(sum, zip(*rest, strict=True))) for rest in [parts, *without_a_burst(parts)] if rest]
    return len(parts) == look.windows and sums[0][1] >= look.predictions and all(beyond(*one) for one in sums)


def without_a_burst(parts):
    """Each two neighbours left out, or each one of two."""
    length = min(2, len(parts) - 1)
    return [parts[:at] + parts[at + length :] for at in range(len(parts) - length + 1)]


@given(st.lists(windows, max_size=40), looked, st.integers(0, 1_000), st.sampled_from([VERSIONS, Versions()]))
def test_the_error_rate_of_the_newest_windows_whose_answers_are_all_there(counts, look, until, versions):
    all_of_them = together(counts, "canary", versions.canary, until - POLICY.prediction_deadline, ROLLOUT)
    newest = [(int(errors), int(predicted)) for predicted, errors, *_ in all_of_them if predicted][: look.windows]
    for limit in (look.limit("error_rate", bound) for bound in BOUNDS):
        bound = Fraction(str(limit.bound))
        found = broken(counts, limit, until=until, versions=versions)
        passed = is_broken(newest, look, lambda part, of, bound=bound: Fraction(part, of) > bound)
        assert (found is not None) == passed
        if found:
            errors, predicted = map(sum, zip(*newest, strict=True))
            assert found.limit == limit
            assert f"({errors} of {predicted} requests in {len(newest)} window" in found.sentence


@given(
    st.lists(windows, max_size=60),
    looked,
    st.integers(500, 1_500),
    st.none() | st.integers(CLOCK_SKEW_MS + 1_200, CLOCK_SKEW_MS + 2_200),
)
def test_the_accuracy_of_the_newest_windows_whose_labels_are_there_also_of_forgotten_ones(
    counts, look, until, forgotten
):
    ripe = until - LABEL_AGE
    newest = together(counts, "canary", "7", ripe, ROLLOUT, with_labels=True)[: look.windows]
    parts = [(int(correct), int(labelled)) for _, _, labelled, correct in newest]
    last = together(counts, "stable", "6", ripe, with_labels=True)
    sizes = [n for n in range(look.windows, len(last) + 1) if total_of(last[:n])[2] >= look.predictions]
    _, _, stable_labelled, stable_correct = total_of(last[: sizes[0]] if sizes else last)
    for bound in BOUNDS:
        exact = Fraction(str(bound))
        below = is_broken(parts, look, lambda part, of, exact=exact: Fraction(part, of) < exact)
        found = broken(counts, look.limit("accuracy", bound), until=until, forgotten=forgotten)
        assert (found is not None) == below
        dropped = stable_labelled >= look.predictions and is_broken(
            parts,
            look,
            lambda part, of, exact=exact: Fraction(stable_correct, stable_labelled) - Fraction(part, of) > exact,
        )
        found = broken(counts, look.limit("accuracy_drop", bound), until=until, forgotten=forgotten)
        assert (found is not None) == dropped


@given(
    st.lists(st.integers(0, 3_000), min_size=1, max_size=60),
    st.sampled_from(["latency_p50", "latency_p99", "model_latency_p50", "model_latency_p99"]),
    st.integers(1, 3_500),
)
def test_a_latency_that_breaks_its_limit_is_above_it_and_one_far_above_it_breaks_it(latencies, metric, bound):
    """Buckets of 1 part in 8 tell no more."""
    histogram = "model_latencies" if metric.startswith("model") else "latencies"
    counts = [count(0, predicted=1, **{histogram: {bucket_of(value): 1}}) for value in latencies]
    q = 0.5 if metric.endswith("p50") else 0.99
    exact = int(np.quantile(latencies, q, method="inverted_cdf"))
    limit = Limit(metric=metric, bound=bound / 1000, windows=1, predictions=len(latencies))
    found = broken(counts, limit, until=10_000)
    assert exact > bound if found else exact <= bound * 9 / 8
    too_few = Limit(metric=metric, bound=bound / 1000, windows=1, predictions=len(latencies) + 1)
    assert broken(counts, too_few, until=10_000) is None


@pytest.mark.parametrize("windows", [2, 3, 10])
@pytest.mark.parametrize("first", range(8))
def test_one_restart_of_a_job_breaks_no_limit_and_a_slow_canary_does(windows, first):
    """All that was routed in half a minute waits, in two windows where it goes across their boundary."""
    limit = Limit(metric="latency_p99", bound=0.2, windows=windows)

    def latencies(slow):
        return {"predicted": 1_200, "latencies": {bucket_of(10): 1_200 - slow, bucket_of(8_000): slow}}

    def at(number):
        burst = {first: 500, first + 1: 500 if windows > 2 else 0}
        return count(number, **latencies(burst.get(number, 0)))

    once = [at(number) for number in range(12)]
    assert [broken(once, limit, until=until) for until in range(0, 1_500, 50)] == [None] * 30
    slow = [count(number, **latencies(30)) for number in range(windows)]
    assert broken(slow[:-1], limit, until=10_000) is None
    assert broken(slow, limit, until=10_000) is not None


def test_errors_that_come_before_the_answers_of_their_window_break_nothing():
    """Errors come at once, answers only with the deadline: 1 % of all."""
    limit = Limit(metric="error_rate", bound=0.05, windows=2)
    for until in range(100, 1_500, 10):
        counts = []
        for number in range(12):
            ended = (number + 1) * 100
            answers = 990 if until >= ended + POLICY.prediction_deadline else 0
            counts += [count(number, predicted=10 + answers, errors=10)] if until >= ended else []
        assert broken(counts, limit, until=until) is None


def test_a_limit_tells_what_it_sees_and_what_it_lacks():
    def told(counts, *limits):
        windows = Windows(POLICY)
        windows.add(0, counts)
        return limited(*limits).told(windows, 10_000)

    errors, drop = Limit(metric="error_rate", bound=0.05), Limit(metric="accuracy_drop", bound=0.1, windows=1)
    assert told([], errors) == ("limit error_rate: says nothing with 0 of 100 predictions in 0 of 3 windows",)
    few = [count(number, predicted=10, errors=9) for number in range(4)]
    assert told(few, errors) == ("limit error_rate: says nothing with 30 of 100 predictions in the last 3 windows",)
    many = [count(number, predicted=100, errors=1) for number in range(4)]
    assert told(many, errors) == ("limit error_rate: error rate 1.0 % (3 of 300 requests in 3 windows)",)
    labels = [count(1, labelled=100, correct=71), count(1, "stable", labelled=40, correct=30)]
    assert told(labels, errors, drop)[1] == "limit accuracy_drop: says nothing with 40 of 100 labels of stable 6"


def test_each_limit_says_its_numbers_in_one_sentence():
    errors = [count(number, predicted=100, errors=12) for number in range(5)]
    assert said(errors, Limit(metric="error_rate", bound=0.05), until=1_000) == (
        "canary 7 breaks its limit: error rate 12.0 % (36 of 300 requests in 3 windows) is above 5 %"
    )
    labels = [count(1, labelled=100, correct=71), count(1, "stable", labelled=300, correct=270)]
    assert said(labels, Limit(metric="accuracy", bound=0.8, windows=1), until=1_000) == (
        "canary 7 breaks its limit: accuracy 71.0 % (71 of 100 labels in 1 window) is below 80 %"
    )
    assert said(labels, Limit(metric="accuracy_drop", bound=0.05, windows=1), until=1_000) == (
        "canary 7 breaks its limit: accuracy 71.0 % (71 of 100 labels in 1 window) is 19.0 points below the last known "
        "of stable 6, 90.0 % (270 of 300 labels in 1 window), which is above 5 points"
    )
    slow = [count(1, predicted=300, model_latencies={bucket_of(250): 300})]
    assert said(slow, Limit(metric="model_latency_p99", bound=0.2, windows=1), until=1_000, versions=Versions()) == (
        "canary (any version) breaks its limit: p99 of model latency, at least 0.24 s (300 requests in 1 window), "
        "is above 0.2 s"
    )


def test_the_first_broken_limit_of_the_policy_is_told():
    counts = [count(1, predicted=100, errors=12)]
    limits = [Limit(metric="error_rate", bound=bound, windows=1) for bound in (0.5, 0.1, 0.05)]
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
    limits = limited(Limit(metric="accuracy_drop", bound=0.05, windows=1))
    assert limits.broken(windows, later + 100 + LABEL_AGE - 1) is None
    found = limits.broken(windows, later + 100 + LABEL_AGE)
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
        assert broken(counts, Limit(metric=metric, bound=bound, windows=1), until=1_000) is None
        assert broken(counts, Limit(metric=metric, bound=further, windows=1), until=1_000) is not None


def test_stable_is_known_from_as_many_windows_as_canary_or_more_where_these_have_too_few_labels():
    counts = [count(number, labelled=50, correct=20) for number in (7, 8, 9)]
    counts += [
        count(number, "stable", labelled=10, correct=correct) for number, correct in enumerate([0, 0, 10, 0, 10])
    ]
    for windows, predictions, told in ((1, 10, "10 of 10"), (2, 10, None), (1, 51, None), (3, 1, "20 of 30")):
        limit = Limit(metric="accuracy_drop", bound=0.1, windows=windows, predictions=predictions)
        sentence = said(counts, limit, until=10_000)
        assert (told in sentence) if told else sentence is None
