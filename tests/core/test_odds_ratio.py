"""The interval of the odds ratio: it inverts the test, and holds at every moment."""

import numpy as np
import pytest

from stream_router.core.deciding.e_process import EProcess
from stream_router.core.deciding.numbers import Counts
from stream_router.core.deciding.odds_ratio import GRID, odds_ratio


def blocks(seed, ratio, number=150, stable=0.2):
    rng = np.random.default_rng(seed)
    odds = ratio * stable / (1 - stable)
    canary = odds / (1 + odds)
    return [Counts(90, int(rng.binomial(90, stable)), 10, int(rng.binomial(10, canary))) for _ in range(number)]


def interval(found, alpha=0.05):
    return odds_ratio(found, alpha=alpha, max_labels=20_000)


def test_nothing_is_known_without_blocks():
    assert interval([]) == (0.0, float("inf"))


@pytest.mark.parametrize("ratio", [0.25, 1.0, 4.0])
def test_it_holds_the_true_ratio_and_closes_in_on_it(ratio):
    few, many = (interval(blocks(1, ratio, number)) for number in (20, 300))
    assert few.low < ratio < few.high
    assert ratio / 2 < many.low < ratio < many.high < ratio * 2


def test_the_lower_end_passes_1_exactly_where_the_test_says_unhealthy():
    found = blocks(2, 2.0)
    test, is_above = EProcess(alpha=0.05, psi0=1.0, max_labels=20_000), []
    for number, n in enumerate(found, 1):
        test.update(n.stable_labels, n.canary_labels, n.stable_bad, n.canary_bad)
        if number % 10 == 0:
            is_above.append((interval(found[:number]).low >= 1, test.unhealthy))
    assert [low for low, _ in is_above] == [unhealthy for _, unhealthy in is_above]
    assert {unhealthy for _, unhealthy in is_above} == {False, True}


def test_it_only_closes_in():
    found = blocks(3, 1.5)
    ends = [interval(found[:number]) for number in range(10, 150, 20)]
    assert [low for low, _ in ends] == sorted(low for low, _ in ends)
    assert [high for _, high in ends] == sorted((high for _, high in ends), reverse=True)


def test_an_end_is_wrong_as_rarely_as_was_promised():
    wrong = sum(interval(blocks(seed, 1.0, 60), alpha=0.2).low > 1.0 for seed in range(60))
    assert wrong <= 0.2 * 60 + 3 * (60 * 0.2 * 0.8) ** 0.5
    assert 1.0 in GRID
