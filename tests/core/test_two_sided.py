"""The two-sided tests: fair under the null, alike in both directions, and each signal reads what it says it reads."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom
from support.evidence import POLICY, VERSIONS

from stream_router.core.deciding.e_process import EProcess
from stream_router.core.deciding.hypergeometric import support
from stream_router.core.deciding.metrics.attrition import Attrition
from stream_router.core.deciding.metrics.coverage import Coverage
from stream_router.core.deciding.metrics.revisions import Revisions
from stream_router.core.deciding.metrics.two_sided import TwoSided
from stream_router.core.deciding.rows import ROW
from stream_router.core.evidence import LABELLING, RolloutStarted

RIPE_AGE = 7_000
SIGNALS = (Attrition(), Coverage(), Revisions())
blocks = st.integers(1, 60).flatmap(
    lambda n_a: st.integers(0, 30).flatmap(
        lambda n_b: st.tuples(st.just(n_a), st.just(n_b), st.integers(0, n_a), st.integers(0, n_b))
    )
)
delays = st.one_of(st.just(math.nan), st.integers(RIPE_AGE - 2, RIPE_AGE + 2).map(float))
lanes = st.lists(st.tuples(delays, st.booleans()), max_size=12)


def pair(alpha: float = 0.01) -> TwoSided:
    return TwoSided(alpha=alpha, max_labels=200)


def rows(outcomes):
    """Of delays and whether they were revised."""
    held = np.zeros(len(outcomes), ROW)
    held["value"], held["bad"] = [value for value, _ in outcomes], [bad for _, bad in outcomes]
    return held


def block(stable, canary):
    return SimpleNamespace(stable=rows(stable), canary=rows(canary))


def test_of(metric):
    started = RolloutStarted(rollout=1, versions=VERSIONS, ripe_age=RIPE_AGE, first_offset=0, policy=POLICY)
    return metric.test(started, {})


test_of.__test__ = False


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([0.3, 0.05, 0.01]), st.lists(blocks, max_size=8), blocks)
def test_under_the_null_the_mean_of_the_next_e_value_is_the_present_one(alpha, history, last):
    test = pair(alpha)
    for earlier in history:
        test.update(*earlier)
    n_a, n_b, e_a, e_b = last
    bad, mean = e_a + e_b, 0.0
    for x in support(n_a, n_b, bad):
        after = copy.deepcopy(test)
        after.update(n_a, n_b, bad - x, x)
        mean += hypergeom(n_a + n_b, bad, n_b).pmf(x) * after.mean
    assert mean == pytest.approx(test.mean, rel=1e-6)


@given(st.lists(blocks, max_size=12))
@settings(deadline=None, max_examples=50)
def test_fewer_is_found_as_soon_as_more(history):
    one, mirrored = pair(), pair()
    for n_a, n_b, e_a, e_b in history:
        one.update(n_a, n_b, e_a, e_b)
        mirrored.update(n_a, n_b, n_a - e_a, n_b - e_b)
        assert one.e_value == mirrored.e_value
        assert one.unhealthy == mirrored.unhealthy
        assert (one.more, mirrored.more) in {(True, False), (False, True), (True, True)}


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.5]))
@settings(deadline=None, max_examples=40)
def test_it_decides_no_later_than_a_test_of_either_side_at_half_the_level(seed, rate):
    rng, test = np.random.default_rng(seed), pair()
    sides = [EProcess(alpha=0.005, psi0=1.0, max_labels=200) for _ in range(2)]
    while not any(side.unhealthy for side in sides):
        assert test.e_value <= test.threshold
        e_a, e_b = int(rng.binomial(90, 0.2)), int(rng.binomial(10, rate))
        test.update(90, 10, e_a, e_b)
        sides[0].update(90, 10, e_a, e_b)
        sides[1].update(90, 10, 90 - e_a, 10 - e_b)
    assert test.unhealthy
    assert test.e_value == test.threshold == 1 / 0.01
    assert test.more == (rate > 0.2)


def test_unhealthy_is_final():
    test = pair()
    while not test.unhealthy:
        test.update(90, 10, 5, 8)
    before = copy.deepcopy(test.state())
    test.update(90, 10, 80, 0)
    np.testing.assert_equal(test.state(), before)


@settings(deadline=None)
@given(lanes, lanes)
def test_each_signal_counts_what_it_asks(stable, canary):
    labelled = [[(value, bad) for value, bad in lane if not math.isnan(value)] for lane in (stable, canary)]
    expected = {
        "attrition": [(len(lane), sum(math.isnan(value) for value, _ in lane)) for lane in (stable, canary)],
        "coverage": [(len(lane), sum(not value <= RIPE_AGE for value, _ in lane)) for lane in (stable, canary)],
        "revisions": [(len(lane), sum(bad for _, bad in lane)) for lane in labelled],
    }
    for metric in SIGNALS:
        test = test_of(metric)
        test.update(block(stable, canary))
        n = test.numbers
        counted = [(n.stable_labels, n.stable_bad), (n.canary_labels, n.canary_bad)]
        assert counted == expected[metric.name]
        assert -1 <= n.difference_low <= n.difference <= n.difference_high <= 1
        assert n.blocks == 1


@pytest.mark.parametrize("metric", SIGNALS, ids=lambda metric: metric.name)
def test_a_signal_has_a_hundredth_and_reads_what_is_known_at_maturity(metric):
    assert test_of(metric).threshold == pytest.approx(100)
    assert (metric.kind, metric.unit, metric.known) == (LABELLING, "request", "maturity")


DIFFERS = {
    # of each signal: one outcome of canary's that is bad
    "attrition": (math.nan, False),
    "coverage": (RIPE_AGE + 1.0, False),
    "revisions": (1.0, True),
}
SAYS = {
    "attrition": ("labels come for fewer of the requests of canary 7", "labels come for more of the requests"),
    "coverage": ("fewer of the requests of canary 7 than of stable 6 are labelled within", "more of the requests of"),
    "revisions": ("labels are revised more often for canary 7", "labels are revised less often for canary 7"),
}


@pytest.mark.parametrize("metric", SIGNALS, ids=lambda metric: metric.name)
def test_either_direction_is_found_and_said_with_its_numbers(metric):
    fine, bad = [(1.0, False)], [DIFFERS[metric.name]]
    for swapped in (False, True):
        test = test_of(metric)
        stable, canary = (bad * 36 + fine * 54, fine * 10) if swapped else (fine * 90, bad * 4 + fine * 6)
        assert "nothing is known yet of canary 7" in test.sentence("stable 6", "canary 7")
        test.update(block(fine * 90, fine * 10))
        assert "not shown to" in test.sentence("stable 6", "canary 7")
        while not test.unhealthy:
            test.update(block(stable, canary))
            assert test.numbers.blocks < 100
        sentence = test.sentence("stable 6", "canary 7")
        assert sentence.startswith(SAYS[metric.name][swapped])
        assert f"of {test.numbers.canary_labels:,} " in sentence
        assert "e-value reached 100 = 1/(weight · alpha) after" in sentence


def test_the_sentence_gives_the_rates_that_it_speaks_of():
    test = test_of(Attrition())
    test.update(block([(1.0, False)] * 90, [(1.0, False)] * 8 + [(math.nan, False)] * 2))
    assert "no label for 20.0 % of 10 requests against 0.0 % of 90, difference +20.0 points" in test.sentence(
        "stable", "canary"
    )


@pytest.mark.parametrize("metric", SIGNALS, ids=lambda metric: metric.name)
def test_a_snapshot_is_invisible(metric):
    rng = np.random.default_rng(4)
    through, restored = test_of(metric), test_of(metric)
    for _ in range(30):
        lanes = [
            [(math.nan if rng.random() < 0.1 else rng.exponential(5_000), rng.random() < 0.2) for _ in range(n)]
            for n in (90, 10)
        ]
        through.update(block(*lanes))
        restored.update(block(*lanes))
        state, restored = copy.deepcopy(restored.state()), test_of(metric)
        restored.restore(state)
        np.testing.assert_equal(restored.state(), through.state())
        assert restored.sentence("a", "b") == through.sentence("a", "b")
