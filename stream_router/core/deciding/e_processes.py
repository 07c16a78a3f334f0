"""Many e-processes of one level at once, as arrays: what e_process.py does, at a fraction of its price a test.

A block's possible numbers of canary's bad outcomes are counted from each test's own least one on, so that all tests of
a block share one array; where that would be wide, a test goes on by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from stream_router.core.deciding.e_process import (
    ALTERNATIVES,
    BOOST_ITERATIONS,
    INVESTED,
    INVESTED_WEIGHTS,
    RELEASED_WEIGHTS,
    Capital,
    EProcess,
)
from stream_router.core.evidence import Doubles, Flags, Integers

WIDEST: Final = 256
"""Possible numbers of bad outcomes up to which tests share an array: 8 to that power is a number yet."""

_LARGEST_LOG: Final = 700.0
"""No bet of up to WIDEST numbers comes near its exponential."""

_PLAIN: Final = 1_000
"""Outcomes of a block up to which weights need no logarithms: C(1000, 500) is a double yet."""

_NUMBERS: Final = np.arange(WIDEST)
_POWERS: Final = ALTERNATIVES[:, np.newaxis] ** _NUMBERS
_LOG_ALTERNATIVES: Final = np.log(ALTERNATIVES)
_INVESTED: Final = np.log(INVESTED * INVESTED_WEIGHTS)
with np.errstate(divide="ignore"):
    _LOG_RELEASED_WEIGHTS: Final = np.log(RELEASED_WEIGHTS)


class _Blocks(NamedTuple):
    """One a test, shape (n,) each: see EProcess.update.

    Of canary's outcomes at least `least` are bad, given that `bad` of all are, and `width` numbers are possible, of
    which the one at place x came true.
    """

    n_a: Integers
    n_b: Integers
    bad: Integers
    least: Integers
    width: Integers
    x: Integers

    def part(self, chosen: Integers | Flags) -> "_Blocks":
        return _Blocks(*(column[chosen] for column in self))


@dataclass(slots=True)
class Capitals:
    """State of n tests, see Capital: log_invested of shape (n, 8), the others of shape (n,)."""

    log_invested: Doubles
    cash: Doubles
    total: Doubles
    blocks: Integers
    unhealthy: Flags

    @classmethod
    def initial(cls, tests: int) -> "Capitals":
        return cls(
            np.tile(_INVESTED, (tests, 1)),
            np.full(tests, 1.0 - INVESTED),
            np.zeros(tests),
            np.zeros(tests, np.int64),
            np.zeros(tests, np.bool_),
        )


class EProcesses:
    """`tests` e-processes, each of which reaches 1 / alpha with probability at most alpha under its null."""

    def __init__(self, *, alpha: float, psi0: float, max_labels: int, tests: int) -> None:
        self._alpha, self._psi0, self._max_labels = alpha, psi0, max_labels
        self._log_threshold = -np.log(alpha)
        self._release_a_label = (1.0 - INVESTED) / max_labels
        self.state = Capitals.initial(tests)
        self._any_unhealthy = False

    @property
    def unhealthy(self) -> Flags:
        """Final for each test: once true nothing of it changes any more."""
        return self.state.unhealthy

    @property
    def any_unhealthy(self) -> bool:
        """Whether a test is."""
        return self._any_unhealthy

    @property
    def threshold(self) -> float:
        return 1.0 / self._alpha

    @property
    def e_value(self) -> Doubles:
        """From 0 to the threshold: exactly the threshold of those that are unhealthy. Shape (tests,)."""
        e_values: Doubles = np.exp(self.state.total)
        return np.where(self.state.unhealthy, self.threshold, e_values) if self._any_unhealthy else e_values

    def update(self, n_a: Integers, n_b: Integers, e_a: Integers, e_b: Integers, of: Integers | None = None) -> None:
        """A block of each test, or of the different tests at places `of`; see EProcess.update. Shape (n,) each."""
        if not len(n_a):
            return
        if np.minimum.reduce(e_a | e_b | (n_a - e_a) | (n_b - e_b)) < 0:  # whether any of them is
            raise ValueError("bad outcomes must be a part of all")
        bad = e_a + e_b
        least = np.maximum(bad - n_a, 0)
        blocks = _Blocks(n_a, n_b, bad, least, np.minimum(n_b, bad) - least + 1, e_b - least)
        widest = int(np.maximum.reduce(blocks.width))
        if widest <= WIDEST and not self._any_unhealthy:
            self._together(slice(None) if of is None else of, blocks, widest)
            return
        on = ~self.state.unhealthy if of is None else ~self.state.unhealthy[of]
        wide = blocks.width > WIDEST
        if of is None:
            of = np.arange(len(on))
        for one in np.flatnonzero(on & wide).tolist():
            self._alone(int(of[one]), *(int(column[one]) for column in (n_a, n_b, e_a, e_b)))
        on &= ~wide
        if on.any():
            blocks = blocks.part(on)
            self._together(of[on], blocks, int(blocks.width.max()))

    def snapshot(self) -> dict[str, Any]:
        """Arrays, for `restore`."""
        return {name: getattr(self.state, name) for name in Capitals.__slots__}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises LookupError, TypeError or ValueError where the state is none of as many tests."""
        own = self.snapshot()
        held = {name: np.array(state[name], array.dtype) for name, array in own.items()}
        if any(held[name].shape != array.shape for name, array in own.items()):
            raise ValueError(f"the state is not one of {len(self.state.total)} tests")
        self.state = Capitals(**held)
        self._any_unhealthy = bool(self.state.unhealthy.any())

    def _alone(self, one: int, n_a: int, n_b: int, e_a: int, e_b: int) -> None:
        state = self.state
        capital = Capital(
            state.log_invested[one].copy(), float(state.cash[one]), float(state.total[one]), int(state.blocks[one])
        )
        test = EProcess(alpha=self._alpha, psi0=self._psi0, max_labels=self._max_labels, state=capital)
        test.update(n_a, n_b, e_a, e_b)
        for name in Capitals.__slots__:
            getattr(state, name)[one] = getattr(capital, name)
        self._any_unhealthy |= capital.unhealthy

    def _together(self, of: Integers | slice, blocks: _Blocks, widest: int) -> None:
        with np.errstate(divide="ignore"):  # the log of nothing is right
            state, x = self.state, blocks.x
            log_invested, cash = self._released(of, blocks.n_b)
            log_cash = np.log(cash)
            null = _null(blocks, self._psi0, widest)
            powers = _POWERS[:, :widest]
            means = null @ powers.T
            largest = np.maximum(np.maximum.reduce(log_invested, axis=1), log_cash)
            invested, cash = np.exp(log_invested - largest[:, np.newaxis]), np.exp(log_cash - largest)
            bet = (invested / means) @ powers
            bet += cash[:, np.newaxis]
            bet /= (np.add.reduce(invested, axis=1) + cash)[:, np.newaxis]
            log_cap = self._log_threshold - state.total[of]
            scale, capped = _boosted(null, bet, np.exp(np.minimum(log_cap, _LARGEST_LOG)), blocks.width)
            state.log_invested[of] = log_invested + x[:, np.newaxis] * _LOG_ALTERNATIVES - np.log(means)
            state.total[of] += np.log(scale * bet[np.arange(len(x)), x])
            state.blocks[of] += 1
            hit = x >= capped
            if np.logical_or.reduce(hit):
                # Set, not computed: the sum of rounded logs would miss the threshold.
                state.total[of] = np.where(hit, self._log_threshold, state.total[of])
                state.unhealthy[of] = hit
                self._any_unhealthy = True

    def _released(self, of: Integers | slice, n_b: Integers) -> tuple[Doubles, Doubles]:
        """Logs of what is invested and the cash, once some of this is released: see EProcess."""
        state = self.state
        cash = state.cash[of]
        released = np.minimum(cash, self._release_a_label * n_b) * (state.blocks[of] > 0)
        if not released.any():
            return state.log_invested[of], cash
        log_invested = np.logaddexp(state.log_invested[of], np.log(released)[:, np.newaxis] + _LOG_RELEASED_WEIGHTS)
        state.cash[of] = cash = cash - released
        return log_invested, cash


def _null(blocks: _Blocks, psi0: float, widest: int) -> Doubles:
    """P0 of each test from its least number on, shape (n, widest): 0 for what is not possible."""
    n_a, n_b, bad, least, width, _ = (column[:, np.newaxis] for column in blocks)
    x = least + _NUMBERS[: widest - 1]
    steps = (n_b - x) * (bad - x) / ((x + 1) * (n_a - bad + x + 1))
    weights = np.ones((len(x), widest))
    if psi0 == 1.0 and np.maximum.reduce(blocks.n_a + blocks.n_b) <= _PLAIN:
        np.multiply.accumulate(steps, axis=1, out=weights[:, 1:])  # the step behind the last possible number is 0
    else:
        possible = _NUMBERS[:widest] < width
        weights[:, 0] = 0.0
        np.cumsum(np.log(np.where(possible[:, 1:], steps * psi0, 1.0)), axis=1, out=weights[:, 1:])
        weights = np.exp(weights - weights.max(1, keepdims=True)) * possible
    weights /= np.add.reduce(weights, axis=1, keepdims=True)
    return weights


def _boosted(null: Doubles, bet: Doubles, cap: Doubles, width: Integers) -> tuple[Doubles, Integers]:
    """See e_process.boosted: b of each test, and the number from which on its factor is the cap. Shape (n,) each."""
    product = null * bet
    scale, capped = 1.0 / np.add.reduce(product, axis=1), width
    again = np.flatnonzero(np.maximum(scale, 1.0) * bet[:, -1] >= cap)
    if len(again):  # what may not be possible bets more than what is
        again = again[np.maximum(scale, 1.0)[again] * bet[again, width[again] - 1] >= cap[again]]
    if not len(again):
        return scale, capped
    scale, capped = scale.copy(), width.copy()
    scale[again], capped[again] = 1.0, _below(bet[again], cap[again], width[again])
    for _ in range(BOOST_ITERATIONS):
        kept = _NUMBERS[: null.shape[1]] < capped[again, np.newaxis]
        wasted = cap[again] * np.where(kept, 0.0, null[again]).sum(1)
        mean = np.where(kept, product[again], 0.0).sum(1)
        going = (wasted < 1.0) & (mean > 0.0)
        again = again[going]
        scale[again] = (1.0 - wasted[going]) / mean[going]
        now = _below(scale[again, np.newaxis] * bet[again], cap[again], width[again])
        moved = now != capped[again]
        capped[again] = now
        again = again[moved]
        if not len(again):
            break
    return scale, capped


def _below(bet: Doubles, cap: Doubles, width: Integers) -> Integers:
    """How many of the first `width` numbers, on which the bet grows, stay below the cap."""
    below: Integers = np.minimum((bet < cap[:, np.newaxis]).sum(1), width)
    return below
