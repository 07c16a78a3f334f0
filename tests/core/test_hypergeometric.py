"""Fisher's noncentral hypergeometric distribution, against scipy and by counting."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import nchypergeom_fisher

from stream_router.core.deciding.hypergeometric import log_pmf, support


@st.composite
def margins(draw, most=120):
    n_a, n_b = draw(st.integers(0, most)), draw(st.integers(0, most))
    return n_a, n_b, draw(st.integers(0, n_a + n_b))


def test_equals_scipy():
    """Seeded, not searched: scipy aborts the whole process on some margins and odds that a search finds."""
    rng = np.random.default_rng(1)
    for n_a, n_b in rng.integers(0, 120, (200, 2)).tolist():
        bad, odds = int(rng.integers(0, n_a + n_b + 1)), float(rng.choice([0.2, 0.5, 1.0, 1.7, 5.0]))
        expected = nchypergeom_fisher.pmf(list(support(n_a, n_b, bad)), n_a + n_b, n_b, bad, odds)
        np.testing.assert_allclose(np.exp(log_pmf(n_a, n_b, bad, odds)), expected, rtol=1e-7, atol=1e-12)


@settings(deadline=None)
@given(margins(), st.floats(0.2, 5.0))
def test_equals_the_definition_in_whole_numbers(block, odds):
    n_a, n_b, bad = block
    weights = [math.comb(n_b, x) * math.comb(n_a, bad - x) * odds**x for x in support(n_a, n_b, bad)]
    expected = [weight / sum(weights) for weight in weights]
    np.testing.assert_allclose(np.exp(log_pmf(n_a, n_b, bad, odds)), expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("odds", [1.0, 2.5])
@pytest.mark.parametrize(("n_a", "n_b", "bad"), [(4, 3, 2), (2, 5, 6), (6, 1, 3), (3, 3, 0), (3, 3, 6)])
def test_equals_a_count_of_all_ways_to_place_the_bad_outcomes(n_a, n_b, bad, odds):
    weights = dict.fromkeys(support(n_a, n_b, bad), 0.0)
    for places in combinations(range(n_a + n_b), bad):
        canary = sum(place < n_b for place in places)
        weights[canary] += odds**canary
    total = sum(weights.values())
    np.testing.assert_allclose(np.exp(log_pmf(n_a, n_b, bad, odds)), [w / total for w in weights.values()])


@settings(deadline=None)
@given(margins(most=3_000_000))
def test_a_block_of_any_size_has_a_distribution_that_sums_to_one(block):
    n_a, n_b, bad = block
    bad = min(bad, 50_000)
    log_probabilities = log_pmf(n_a, n_b, bad)
    assert np.isfinite(log_probabilities).all()
    assert math.isclose(np.exp(log_probabilities).sum(), 1.0, rel_tol=1e-9)
