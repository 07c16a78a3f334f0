"""The delays of labels, from cohorts that have not got all of theirs: as if one had waited."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_router.core.deciding.truncation import Cohort, untruncated_quantile
from stream_router.core.histogram import bucket_of, quantile

MINUTE = 60_000
histograms = st.dictionaries(st.integers(0, 60), st.integers(1, 100), max_size=8)


def cohorts(draw, minutes, a_minute=200, seed=1):
    """One a minute, of `minutes`, each with those of its labels that have come."""
    rng = np.random.default_rng(seed)
    for age in range(1, minutes + 1):
        delays = draw(rng, a_minute).astype(int)
        yield Cohort(age * MINUTE, Counter(map(bucket_of, delays[delays < age * MINUTE].tolist())))


def exponential(mean):
    return lambda rng, size: rng.exponential(mean, size)


@pytest.mark.parametrize("mean", [MINUTE, 4 * MINUTE])
def test_the_quantile_of_young_cohorts_is_that_of_all_labels(mean):
    true = -np.log(0.02) * mean
    minutes = int(3 * true / MINUTE) + 1
    found = untruncated_quantile(list(cohorts(exponential(mean), minutes)), 0.98)
    assert 0.85 * true <= found <= 1.25 * true


def test_without_the_correction_it_is_too_short():
    """What the test above would show."""
    young = list(cohorts(exponential(10 * MINUTE), 30))
    seen = quantile(sum((Counter(cohort.delays) for cohort in young), Counter()), 0.9)
    corrected, true = untruncated_quantile(young, 0.9), -np.log(0.1) * 10 * MINUTE
    assert seen < 0.75 * true
    assert seen < corrected


@given(histograms, st.sampled_from([0.5, 0.9, 0.98, 1.0]))
def test_of_cohorts_that_have_all_their_labels_it_is_the_plain_quantile(delays, q):
    assert untruncated_quantile([Cohort(10**9, delays), Cohort(10**9, delays)], q) == quantile(delays, q)


@given(st.lists(st.tuples(st.integers(0, 3_000), histograms), max_size=6), st.sampled_from([0.5, 0.98, 1.0]))
def test_it_is_a_delay_that_was_seen_and_grows_with_q(observed, q):
    young = [Cohort(age, delays) for age, delays in observed]
    found = untruncated_quantile(young, q)
    if found is not None:
        assert untruncated_quantile(young, q / 2) <= found
        assert any(bucket_of(found) in cohort.delays for cohort in young)


@pytest.mark.parametrize("nothing", [[], [Cohort(1_000, {})], [Cohort(0, {bucket_of(5): 3})]])
def test_nothing_is_told_from_nothing(nothing):
    assert untruncated_quantile(nothing, 0.98) is None
