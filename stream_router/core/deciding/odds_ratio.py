"""How much worse, or better, canary is, as an interval that holds at every moment: a confidence sequence.

The odds ratio is canary's odds of a bad outcome divided by stable's. The e-process of `e_process.py` with psi0 tests
that it is at most psi0 in each block; by Ville's inequality a true such hypothesis ever reaches 1 / alpha with
probability at most alpha. Inverting the test gives the lower end: the largest psi0 of a grid that has reached 1 / alpha
with every smaller one. (Every smaller one, since e-values need not fall as psi0 grows: then the end passes the true
ratio only if the first psi0 of the grid at or above that was refuted, which is one true hypothesis.) The upper end is
that of the good outcomes, whose odds ratio is the inverse one. Each end fails, at whatever moment one looks, with
probability at most alpha. Where the ratio drifts from block to block the lower end lies below its greatest, the upper
end above its least.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from stream_router.core.deciding.e_process import EProcess
from stream_router.core.deciding.numbers import Counts

GRID: Final = tuple(2.0 ** (step / 8) for step in range(-48, 49))
"""From 1/64 to 64, each 9 % above the one before; 1 is among them."""


class OddsRatio(NamedTuple):
    """low: 0 where nothing is refuted; high: infinite likewise."""

    low: float
    high: float


def odds_ratio(blocks: Sequence[Counts], *, alpha: float, max_labels: int) -> OddsRatio:
    """After these blocks; each end with its own `alpha`. `max_labels` as in the policy."""
    flipped = [
        Counts(n.stable_labels, n.stable_labels - n.stable_bad, n.canary_labels, n.canary_labels - n.canary_bad)
        for n in blocks
    ]
    high = _lower_end(flipped, alpha, max_labels)
    return OddsRatio(_lower_end(blocks, alpha, max_labels), 1 / high if high else float("inf"))


def _lower_end(blocks: Sequence[Counts], alpha: float, max_labels: int) -> float:
    refuted = 0.0
    for psi0 in GRID:
        test = EProcess(alpha=alpha, psi0=psi0, max_labels=max_labels)
        for n in blocks:
            test.update(n.stable_labels, n.canary_labels, n.stable_bad, n.canary_bad)
            if test.unhealthy:
                break
        else:
            break
        refuted = psi0
    return refuted
