"""The sequential test behind a rollback: an e-process on blocks of concurrent outcomes of both model versions.

It is a bet, block by block, that canary is worse: the e-value is the bettor's capital, which begins at 1. Part of it is
invested in alternatives (how much worse canary might be), the rest is cash, released into new bets as labels come.

Null: canary's odds of a bad outcome are at most psi0 times stable's. Given the margins of a block the number of
canary's bad outcomes follows Fisher's noncentral hypergeometric distribution, so no model of the error rate is needed
and drift common to both lanes cancels. Each block multiplies the e-value by a factor of mean 1 under the null; by
Ville's inequality a healthy canary's e-value ever reaches 1 / alpha with probability at most alpha, however often one
looks.
"""

import math
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from stream_router.core.deciding.hypergeometric import Array, log_pmf, support

ALTERNATIVES: Final = np.array([1.1, 1.2, 1.35, 1.6, 2.0, 2.7, 4.0, 8.0])
"""Odds ratios bet on, as multiples of psi0: all lie outside the null, whatever psi0 is."""

INVESTED: Final = 0.75
"""Part of the capital bet from the first block on; the rest is released evenly over max_labels canary labels."""

INVESTED_WEIGHTS: Final = np.array([1, 2, 3, 3, 3, 2, 1, 1]) / 16
RELEASED_WEIGHTS: Final = np.array([0, 0.5, 2.5, 4, 4, 3, 1.5, 0.5]) / 16
BOOST_ITERATIONS: Final = 12

_LOG_ALTERNATIVES: Final = np.log(ALTERNATIVES)[:, np.newaxis]
_RELEASED: Final = RELEASED_WEIGHTS > 0
_LOG_RELEASED_WEIGHTS: Final = np.log(RELEASED_WEIGHTS[_RELEASED])


def _initial_capital() -> Array:
    return np.log(INVESTED * INVESTED_WEIGHTS)


@dataclass(slots=True)
class Capital:
    """State of the test. log_invested: log M_k of each alternative, shape (8,); cash: not yet invested."""

    log_invested: Array = field(default_factory=_initial_capital)
    cash: float = 1.0 - INVESTED
    total: float = 0.0
    blocks: int = 0
    unhealthy: bool = False


class Boost(NamedTuple):
    """The factor of a block is b L(x) below index `capped` of the support and exactly the cap from there on."""

    log_b: float
    capped: int


class EProcess:
    """The e-value that canary is worse than stable; `update` takes one closed block."""

    def __init__(self, *, alpha: float, psi0: float, max_labels: int, state: Capital | None = None) -> None:
        self._psi0 = psi0
        self._log_threshold = -math.log(alpha)
        self._alpha = alpha
        self._release_a_label = (1.0 - INVESTED) / max_labels
        self.state = state or Capital()

    @property
    def unhealthy(self) -> bool:
        """Final: once true nothing changes any more."""
        return self.state.unhealthy

    @property
    def threshold(self) -> float:
        return 1.0 / self._alpha

    @property
    def e_value(self) -> float:
        """From 0 to the threshold: exactly the threshold once unhealthy."""
        return self.threshold if self.state.unhealthy else math.exp(self.state.total)

    def update(self, n_a: int, n_b: int, e_a: int, e_b: int) -> None:
        """Bet on one block: n_a outcomes of stable, e_a of them bad; n_b of canary, e_b of them bad."""
        if not (0 <= e_a <= n_a and 0 <= e_b <= n_b):
            raise ValueError(f"a block of {e_a} bad of {n_a} and {e_b} bad of {n_b}: bad ones must be a part of all")
        state = self.state
        if state.unhealthy:
            return
        if state.blocks:
            self._release(n_b)
        state.blocks += 1
        bad = e_a + e_b
        log_null = log_pmf(n_a, n_b, bad, self._psi0)
        log_ratios, log_bet = self._bets(log_null, support(n_a, n_b, bad))
        log_cap = self._log_threshold - state.total
        boost = boosted(log_null, log_bet, log_cap)
        x = e_b - max(0, bad - n_a)
        if x >= boost.capped:
            # Set, not computed: the sum of rounded logs would miss the threshold.
            state.unhealthy, state.total = True, self._log_threshold
        else:
            state.total += boost.log_b + float(log_bet[x])
        state.log_invested = state.log_invested + log_ratios[:, x]

    def _release(self, n_b: int) -> None:
        """Invest some of the cash, so that a model that goes bad late is still found fast."""
        state = self.state
        released = min(state.cash, self._release_a_label * n_b)
        if released > 0:
            fresh = math.log(released) + _LOG_RELEASED_WEIGHTS
            state.log_invested[_RELEASED] = np.logaddexp(state.log_invested[_RELEASED], fresh)
            state.cash -= released

    def _bets(self, log_null: Array, possible: range) -> tuple[Array, Array]:
        """Logs of L_k(x), shape (8, m), and of L(x), shape (m,), for the m values of the support."""
        tilt = _LOG_ALTERNATIVES * np.arange(possible.start, possible.stop)
        log_ratios = tilt - np.logaddexp.reduce(log_null + tilt, axis=1, keepdims=True)
        log_cash = math.log(self.state.cash) if self.state.cash > 0 else -math.inf
        log_invested = self.state.log_invested
        log_capital = np.logaddexp(np.logaddexp.reduce(log_invested), log_cash)
        mixture = np.logaddexp.reduce(log_invested[:, np.newaxis] + log_ratios, axis=0)
        return log_ratios, np.logaddexp(mixture, log_cash) - log_capital


def boosted(log_null: Array, log_bet: Array, log_cap: float) -> Boost:
    """Scale a bet up by what it would waste above the cap (Fischer & Ramdas 2024, arXiv 2410.16076).

    Both arrays have shape (m,); the bet grows with x, so that the capped values are the last ones. b is the fixed
    point of b = (1 - c P0{b L >= c}) / sum over {b L < c} of P0 L; on the way there b only grows, and every
    iterate keeps the mean of the factor at or below 1.
    """
    log_tail = np.logaddexp.accumulate(log_null[::-1])[::-1]
    log_head = np.logaddexp.accumulate(log_null + log_bet)
    log_b = 0.0
    capped = int(np.searchsorted(log_bet, log_cap))
    for _ in range(BOOST_ITERATIONS):
        if capped == 0:
            break
        wasted = math.exp(log_cap + log_tail[capped]) if capped < len(log_tail) else 0.0
        if wasted >= 1.0:
            break
        log_b = math.log1p(-wasted) - float(log_head[capped - 1])
        before, capped = capped, int(np.searchsorted(log_bet, log_cap - log_b))
        if capped == before:
            break
    return Boost(log_b, capped)
