"""What is done elsewhere, fed the same blocks: a fixed threshold, and a z-test that looks again and again."""

from collections.abc import Callable

import numpy as np
from decision_cases import Blocks, Result

LOOK_EVERY, WINDOW, POINTS = 50, 500, 0.02
"""Canary labels between two looks; those that the fixed threshold compares; by how much it lets canary be worse."""

Z = 1.959963984540054
"""Two-sided 5 %: of healthy canaries a single look rolls back 2.5 %."""

Worse = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Of n_a, n_b, e_a, e_b, each of shape (looking,): which canaries it calls worse."""


def fixed_threshold(blocks: Blocks, runs: int) -> Result:
    """The last 500 canary labels are two points less accurate than stable's of the same time."""

    def is_worse(n_a: np.ndarray, n_b: np.ndarray, e_a: np.ndarray, e_b: np.ndarray) -> np.ndarray:
        return (n_b >= WINDOW) & (e_b / np.maximum(n_b, 1) > e_a / np.maximum(n_a, 1) + POINTS)

    return _looking(blocks, runs, is_worse, WINDOW // LOOK_EVERY)


def repeated_z(blocks: Blocks, runs: int) -> Result:
    """All labels so far, by a test of two proportions at each look, from 100 canary labels on."""

    def is_worse(n_a: np.ndarray, n_b: np.ndarray, e_a: np.ndarray, e_b: np.ndarray) -> np.ndarray:
        rate = (e_a + e_b) / np.maximum(n_a + n_b, 1)
        error = np.sqrt(rate * (1 - rate) * (1 / np.maximum(n_a, 1) + 1 / np.maximum(n_b, 1)))
        return (n_b >= 2 * LOOK_EVERY) & (e_b / np.maximum(n_b, 1) - e_a / np.maximum(n_a, 1) > Z * error)

    return _looking(blocks, runs, is_worse, None)


def _looking(blocks: Blocks, runs: int, is_worse: Worse, kept: int | None) -> Result:
    """A look each time that LOOK_EVERY canary labels have come, at those of the last `kept` looks, or at all."""
    sums, decided, labels = np.zeros((4, runs), int), np.zeros(runs, bool), np.zeros(runs, int)
    before = np.zeros((kept or 1, 4, runs), int)
    looks = np.zeros(runs, int)
    for of, *block in blocks:
        sums[:, of] += block
        labels[of] += np.where(decided[of], 0, block[1])
        at = np.flatnonzero(sums[1] // LOOK_EVERY > looks)
        looks[at] = sums[1, at] // LOOK_EVERY
        if kept is None:
            decided[at] |= is_worse(*sums[:, at])
        else:
            # sums of `kept` looks ago are overwritten by today's
            place = looks[at] % kept
            decided[at] |= is_worse(*(sums[:, at] - before[place, :, at].T))
            before[place, :, at] = sums[:, at].T
        if decided.all():
            break
    return Result(decided, labels)
