"""Confidence intervals of proportions, for display: decisions are the e-process's."""

import math
from typing import Final, NamedTuple

Z_95: Final = 1.959963984540054
"""The standard normal distribution's 97.5 % quantile."""


class Interval(NamedTuple):
    low: float
    high: float


def wilson(successes: int, n: int) -> Interval:
    """95 % score interval of a proportion (Wilson 1927); [0, 1] without observations."""
    if n == 0:
        return Interval(0.0, 1.0)
    p, z2 = successes / n, Z_95 * Z_95
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def newcombe(successes: int, n: int, other_successes: int, other_n: int) -> Interval:
    """95 % interval of successes / n - other_successes / other_n, independent proportions.

    Newcombe 1998, Interval estimation for the difference between independent proportions, method 10 (hybrid score).
    [-1, 1] where either has no observations.
    """
    if n == 0 or other_n == 0:
        return Interval(-1.0, 1.0)
    p, q = successes / n, other_successes / other_n
    (low, high), (other_low, other_high) = wilson(successes, n), wilson(other_successes, other_n)
    return Interval(p - q - math.hypot(p - low, other_high - q), p - q + math.hypot(high - p, q - other_low))
