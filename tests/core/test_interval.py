"""Confidence intervals, against the numbers of their papers."""

import pytest

from stream_router.core.deciding.interval import newcombe, wilson


def test_newcombe_gives_the_intervals_of_the_paper():
    """Newcombe 1998, table II, method 10."""
    assert newcombe(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert newcombe(9, 10, 3, 10) == pytest.approx((0.1705, 0.8090), abs=5e-5)
    assert newcombe(10, 10, 0, 10) == pytest.approx((0.6075, 1.0), abs=5e-5)


def test_nothing_seen_excludes_nothing():
    assert wilson(0, 0) == (0, 1)
    assert newcombe(0, 0, 3, 4) == (-1, 1)
