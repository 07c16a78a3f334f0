"""Two-sided and forward tests of stream_router.core.deciding for many simulated runs at once; tests hold them equal."""

import numpy as np
import numpy.typing as npt

from stream_router.core.deciding.e_processes import EProcesses
from stream_router.core.deciding.forward import ENOUGH, HALF_LIFE

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class TwoSideds:
    """`runs` two-sided tests at the level alpha, as in metrics/two_sided.py."""

    def __init__(self, alpha: float, max_labels: int, runs: int) -> None:
        self._threshold = 1 / alpha
        self._more, self._less = (
            EProcesses(alpha=alpha / 2, psi0=1.0, max_labels=max_labels, tests=runs) for _ in range(2)
        )

    def update(self, n_a: Ints, n_b: Ints, e_a: Ints, e_b: Ints, of: Ints) -> None:
        """One block each of the runs with the indices `of`; all arguments are integer arrays of one length."""
        of, n_a, n_b, e_a, e_b = (a[~self.unhealthy[of]] for a in (of, n_a, n_b, e_a, e_b))
        self._more.update(n_a, n_b, e_a, e_b, of)
        self._less.update(n_a, n_b, n_a - e_a, n_b - e_b, of)

    @property
    def mean(self) -> Floats:
        return (self._more.e_value + self._less.e_value) / 2

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

    def update(self, n_a: Ints, n_b: Ints, e_a: Ints, e_b: Ints, of: Ints) -> None:
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
