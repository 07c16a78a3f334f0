"""The mirrored test, behind every step forward: a bet that canary is not worse than stable by the margin or more.

Null: in each block canary's rate of bad outcomes is at least stable's plus the margin. Each block multiplies the
e-value by the safe factor of two streams (Turner, Ly & Grünwald 2021, arXiv 2106.02693): the likelihood of an
alternative over that of the null's nearest member,

    (a/phi)^e_a ((1-a)/(1-phi))^(n_a-e_a) (b/(phi+margin))^e_b ((1-b)/(1-phi-margin))^(n_b-e_b),

where phi minimises n_a KL(a | phi) + n_b KL(b | phi + margin). Its mean under the null is at most 1, whatever the rates
are and however they drift from block to block, so by Ville's inequality a canary that is worse by the margin is ever
called healthy with probability at most beta.
"""

import math
from dataclasses import dataclass
from typing import Final

HALF_LIFE: Final = 5_000
"""Stable outcomes after which an older one counts half in what stable is expected to show, so that it follows drift."""

ENOUGH: Final = 50
"""Stable outcomes without which nothing is bet."""

_BISECTIONS: Final = 45


@dataclass(slots=True)
class Progress:
    """State of the test: the log of the e-value, whether it ever reached 1/beta, stable's weighted outcomes so far."""

    total: float = 0.0
    healthy: bool = False
    stable: float = 0.0
    stable_bad: float = 0.0


class ForwardTest:
    """The e-value that canary is worse than stable by less than `margin`, from 0 to 1; `update` takes one closed block.

    Both versions are expected to show what stable showed in earlier blocks: the alternative is an equal canary.
    """

    def __init__(self, margin: float, beta: float, state: Progress | None = None) -> None:
        if not 0 < margin < 1:
            raise ValueError(f"a margin of {margin}: must lie between 0 and 1, as a difference of rates")
        self._margin, self._beta = margin, beta
        self._log_threshold = -math.log(beta)
        self.state = state or Progress()

    @property
    def healthy(self) -> bool:
        """Final: what was proven stays proven."""
        return self.state.healthy

    @property
    def threshold(self) -> float:
        return 1.0 / self._beta

    @property
    def e_value(self) -> float:
        """The present one: it may fall again after the threshold was reached."""
        return math.exp(min(self.state.total, 700.0))

    def update(self, n_a: int, n_b: int, e_a: int, e_b: int) -> None:
        """Bet on one block: n_a outcomes of stable, e_a of them bad; n_b of canary, e_b of them bad."""
        if not (0 <= e_a <= n_a and 0 <= e_b <= n_b):
            raise ValueError(f"a block of {e_a} bad of {n_a} and {e_b} bad of {n_b}: bad ones must be a part of all")
        state, margin = self.state, self._margin
        if state.stable >= ENOUGH:
            rate = expected_rate(state.stable, state.stable_bad, margin)
            phi = nearest_null(n_a, n_b, rate, margin)
            state.total += _log_ratio(n_a, e_a, rate, phi) + _log_ratio(n_b, e_b, rate, phi + margin)
            state.healthy |= state.total >= self._log_threshold
        kept = 0.5 ** (n_a / HALF_LIFE)
        state.stable = state.stable * kept + n_a
        state.stable_bad = state.stable_bad * kept + e_a


def expected_rate(outcomes: float, bad: float, margin: float) -> float:
    """Of bad outcomes, from those seen so far; far enough from 0 and from 1 - margin for a bet to be finite."""
    room = 1.0 - margin
    return min(max((bad + 0.5) / (outcomes + 1.0), 1e-4), max(room - 1e-3, room / 2))


def nearest_null(n_a: int, n_b: int, rate: float, margin: float) -> float:
    """phi: stable's rate in the member of the null that is nearest to both versions having `rate`."""
    low, high = 0.0, 1.0 - margin
    for _ in range(_BISECTIONS):
        phi = (low + high) / 2
        slope = n_a * (phi - rate) / (phi * (1 - phi)) + n_b * (phi + margin - rate) / (
            (phi + margin) * (1 - phi - margin)
        )
        low, high = (phi, high) if slope < 0 else (low, phi)
    return (low + high) / 2


def _log_ratio(outcomes: int, bad: int, rate: float, null: float) -> float:
    return bad * math.log(rate / null) + (outcomes - bad) * math.log((1 - rate) / (1 - null))
