"""Fisher's noncentral hypergeometric distribution: canary's share of the bad outcomes of a block, given the margins."""

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def support(n_a: int, n_b: int, bad: int) -> range:
    """Possible numbers of bad outcomes among canary's n_b when `bad` of all n_a + n_b are bad."""
    return range(max(0, bad - n_a), min(n_b, bad) + 1)


def log_pmf(n_a: int, n_b: int, bad: int, odds: float = 1.0) -> Array:
    """Log probabilities over `support(n_a, n_b, bad)`: P(x) ~ C(n_b, x) C(n_a, bad - x) odds^x, normalised.

    `odds` is the ratio of canary's error odds to stable's (Fog 2008, Sampling methods for Wallenius' and Fisher's
    noncentral hypergeometric distributions, eq. 1). From the ratios of neighbours, so large blocks neither overflow
    nor need factorials.
    """
    possible = support(n_a, n_b, bad)
    x = np.arange(possible.start, possible.stop - 1, dtype=np.float64)
    steps = np.log((n_b - x) * (bad - x) / ((x + 1) * (n_a - bad + x + 1))) + math.log(odds)
    log_weights = np.zeros(len(possible))
    np.cumsum(steps, out=log_weights[1:])
    log_weights -= log_weights.max()
    return log_weights - math.log(np.exp(log_weights).sum())
