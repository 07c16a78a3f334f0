"""The ripe age: long enough for stable's slow errors, never longer than the horizon."""

from collections import Counter

import numpy as np
import pytest
from support.evidence import POLICY, SECOND, flush

from stream_router.core.deciding.ripeness import ENOUGH, Ripeness
from stream_router.core.evidence import BadDelays
from stream_router.core.histogram import bucket_of

MATURE = POLICY.window + POLICY.label_horizon


def learnt(*delays, now=MATURE, window=0):
    ripeness = Ripeness(POLICY)
    bad = BadDelays(window, Counter(map(bucket_of, delays)))
    ripeness.on_record(flush(0, bad_delays=(bad,), watermark=now), now)
    return ripeness


def test_is_the_98_percent_quantile_of_stables_bad_delays_to_one_part_in_eight():
    delays = np.random.default_rng(1).exponential(8 * SECOND, 5_000).astype(int)
    exact = np.quantile(delays, 0.98)
    assert exact * 0.999 <= learnt(*delays.tolist()).ripe_age <= exact * 1.13


@pytest.mark.parametrize("known", [0, ENOUGH - 1])
def test_is_the_horizon_while_too_little_is_known(known):
    assert learnt(*[SECOND] * known).ripe_age == POLICY.label_horizon


def test_is_never_longer_than_the_horizon():
    assert learnt(*[POLICY.label_horizon + 5 * SECOND] * 100).ripe_age == POLICY.label_horizon


def test_windows_within_the_horizon_say_nothing_yet():
    assert learnt(*[SECOND] * 100, now=MATURE - 1).ripe_age == POLICY.label_horizon
    assert learnt(*[SECOND] * 100, now=MATURE).ripe_age < 2 * SECOND
