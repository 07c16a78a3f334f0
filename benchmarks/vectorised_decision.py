"""The sequential tests of stream_router.core.deciding for many simulated runs at once; a test holds them equal.

The e-process works on plain numbers where the core works on logarithms: for blocks of up to a few thousand outcomes.
"""

import numpy as np
import numpy.typing as npt

from stream_router.core.deciding.e_process import (
    ALTERNATIVES,
    BOOST_ITERATIONS,
    INVESTED,
    INVESTED_WEIGHTS,
    RELEASED_WEIGHTS,
)
from stream_router.core.deciding.forward import ENOUGH, HALF_LIFE
from stream_router.core.policy import Policy

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MAX_BLOCK = 20_000
_LOG_FACTORIALS = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, MAX_BLOCK + 1)))])


class EProcesses:
    """State of `runs` tests: invested, shape (runs, 8); cash, total (log evidence) and unhealthy, shape (runs,)."""

    def __init__(self, policy: Policy, runs: int) -> None:
        self._log_threshold = -np.log(policy.alpha)
        self._psi0 = policy.tolerated_odds_ratio
        self._release_a_label = (1 - INVESTED) / policy.max_labels
        self.invested = np.tile(INVESTED * INVESTED_WEIGHTS, (runs, 1))
        self.cash = np.full(runs, 1 - INVESTED)
        self.total = np.zeros(runs)
        self.unhealthy = np.zeros(runs, bool)
        self._begun = np.zeros(runs, bool)

    def update(self, of: Ints, n_a: Ints, n_b: Ints, e_a: Ints, e_b: Ints) -> None:
        """One block each of the runs with the indices `of`; all arguments are integer arrays of one length."""
        of, n_a, n_b, e_a, e_b = (a[~self.unhealthy[of]] for a in (of, n_a, n_b, e_a, e_b))
        if not len(of):
            return
        released = np.where(self._begun[of], np.minimum(self.cash[of], self._release_a_label * n_b), 0.0)
        self._begun[of] = True
        self.cash[of] -= released
        invested = self.invested[of] + released[:, None] * RELEASED_WEIGHTS
        cash = self.cash[of]

        bad = e_a + e_b
        x = np.arange(int(np.minimum(n_b, bad).max()) + 1)
        null = self._null(x, n_a, n_b, bad)
        powers = ALTERNATIVES[:, None] ** x
        means = null @ powers.T
        bet = ((invested / means) @ powers + cash[:, None]) / (invested.sum(1) + cash)[:, None]
        cap = np.exp(np.minimum(self._log_threshold - self.total[of], 700.0))
        b = _boost(null, bet, cap)

        rows = np.arange(len(of))
        factor = b * bet[rows, e_b]
        hit = factor >= cap
        self.unhealthy[of] = hit
        self.total[of] = np.where(hit, self._log_threshold, self.total[of] + np.log(factor))
        self.invested[of] = invested * powers[:, e_b].T / means

    def _null(self, x: Ints, n_a: Ints, n_b: Ints, bad: Ints) -> Floats:
        """P0 over x, shape (runs, x): 0 outside the support."""
        parts = (n_b[:, None] - x, bad[:, None] - x, (n_a - bad)[:, None] + x)
        log_weights = np.log(self._psi0) * x - _LOG_FACTORIALS[x]
        possible = np.ones(parts[0].shape, bool)
        for part in parts:
            log_weights = log_weights - _LOG_FACTORIALS[np.maximum(part, 0)]
            possible &= part >= 0
        log_weights[~possible] = -np.inf
        weights = np.exp(log_weights - log_weights.max(1, keepdims=True))
        return weights / weights.sum(1, keepdims=True)


def _boost(null: Floats, bet: Floats, cap: Floats) -> Floats:
    """Scale b of each run, shape (runs,)."""
    product = null * bet
    b = np.ones(len(cap))
    todo = np.arange(len(cap))
    for _ in range(BOOST_ITERATIONS):
        before = bet[todo] * b[todo, None] >= cap[todo, None]
        tail = np.where(before, null[todo], 0).sum(1)
        b[todo] = (1 - cap[todo] * tail) / np.where(before, 0, product[todo]).sum(1)
        after = bet[todo] * b[todo, None] >= cap[todo, None]
        todo = todo[(after != before).any(1)]
        if not len(todo):
            break
    return b


class TwoSideds:
    """`runs` two-sided tests at the level alpha, as in metrics/two_sided.py."""

    def __init__(self, alpha: float, max_labels: int, runs: int) -> None:
        one_side = Policy(alpha=alpha / 2, max_labels=max_labels)
        self._threshold = 1 / alpha
        self._more, self._less = EProcesses(one_side, runs), EProcesses(one_side, runs)

    def update(self, of: Ints, n_a: Ints, n_b: Ints, e_a: Ints, e_b: Ints) -> None:
        """One block each of the runs with the indices `of`; all arguments are integer arrays of one length."""
        of, n_a, n_b, e_a, e_b = (a[~self.unhealthy[of]] for a in (of, n_a, n_b, e_a, e_b))
        self._more.update(of, n_a, n_b, e_a, e_b)
        self._less.update(of, n_a, n_b, n_a - e_a, n_b - e_b)

    @property
    def mean(self) -> Floats:
        return (np.exp(self._more.total) + np.exp(self._less.total)) / 2

    @property
    def unhealthy(self) -> npt.NDArray[np.bool_]:
        return self._more.unhealthy | self._less.unhealthy | (self.mean >= self._threshold)


class ForwardTests:
    """State of `runs` tests, each of shape (runs,): total (log of the e-value), whether it ever reached 1/beta."""

    def __init__(self, margin: float, beta: float, runs: int) -> None:
        self._margin, self._log_threshold = margin, -np.log(beta)
        self.total = np.zeros(runs)
        self.healthy = np.zeros(runs, bool)
        self._stable, self._stable_bad = np.zeros(runs), np.zeros(runs)

    def update(self, of: Ints, n_a: Ints, n_b: Ints, e_a: Ints, e_b: Ints) -> None:
        """One block each of the runs with the indices `of`; all arguments are integer arrays of one length."""
        stable, bad, margin = self._stable[of], self._stable_bad[of], self._margin
        rate = np.clip((bad + 0.5) / (stable + 1), 1e-4, 1 - margin - 1e-3)
        phi = _nearest_null(n_a, n_b, rate, margin)
        factor = _log_ratio(n_a, e_a, rate, phi) + _log_ratio(n_b, e_b, rate, phi + margin)
        self.total[of] += np.where(stable >= ENOUGH, factor, 0)
        self.healthy[of] |= self.total[of] >= self._log_threshold
        kept = 0.5 ** (n_a / HALF_LIFE)
        self._stable[of], self._stable_bad[of] = stable * kept + n_a, bad * kept + e_a


def _nearest_null(n_a: Ints, n_b: Ints, rate: Floats, margin: float) -> Floats:
    low, high = np.zeros(len(rate)), np.full(len(rate), 1 - margin)
    for _ in range(45):
        phi = (low + high) / 2
        psi = phi + margin
        is_low = n_a * (phi - rate) / (phi * (1 - phi)) + n_b * (psi - rate) / (psi * (1 - psi)) < 0
        low, high = np.where(is_low, phi, low), np.where(is_low, high, phi)
    return (low + high) / 2


def _log_ratio(outcomes: Ints, bad: Ints, rate: Floats, null: Floats) -> Floats:
    return bad * np.log(rate / null) + (outcomes - bad) * np.log((1 - rate) / (1 - null))
