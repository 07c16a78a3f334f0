"""The histogram of milliseconds."""

from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_router.core.histogram import bucket_of, buckets_of, lower_bound, quantile

durations = st.integers(0, 10**12)


@given(durations)
def test_a_duration_lies_in_its_bucket(milliseconds):
    bucket = bucket_of(milliseconds)
    assert lower_bound(bucket) <= milliseconds < lower_bound(bucket + 1)


@given(durations)
def test_a_bucket_is_one_part_in_eight_wide(milliseconds):
    low, high = lower_bound(bucket_of(milliseconds)), lower_bound(bucket_of(milliseconds) + 1)
    assert high - low == 1 or (high - low) * 8 <= low


@given(st.lists(st.integers(-5, 2**60)))
def test_many_at_once_are_as_one_by_one(milliseconds):
    assert buckets_of(np.array(milliseconds, np.int64)).tolist() == [bucket_of(each) for each in milliseconds]


@given(durations, durations)
def test_buckets_are_in_the_order_of_durations(one, other):
    assert (bucket_of(one) <= bucket_of(other)) or one > other


def test_buckets_follow_each_other_without_gap():
    buckets = [bucket_of(milliseconds) for milliseconds in range(100_000)]
    assert all(0 <= after - before <= 1 for before, after in pairwise(buckets))


def test_a_negative_duration_counts_as_none():
    assert bucket_of(-5) == bucket_of(0) == 0


@given(st.lists(durations, min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_is_the_end_of_the_bucket_of_the_exact_one(values, q):
    exact = next(value for number, value in enumerate(sorted(values), 1) if number >= q * len(values))
    found = quantile(Counter(map(bucket_of, values)), q)
    assert bucket_of(found) == bucket_of(exact)
    assert found >= exact


def test_without_observations_there_is_no_quantile():
    assert quantile({}, 0.5) is None
    assert quantile({3: 0}, 0.5) is None
