"""Which requests give outcomes: those of a rollout, and of stable's as many as the test can use."""

from typing import Final

import numpy as np

from stream_router.core.evidence import STABLE_PER_CANARY, Doubles, Flags, Integers
from stream_router.core.joining.counting import Cell, Cells
from stream_router.core.joining.split_history import SplitHistory
from stream_router.core.lane import STABLE

_ALL: Final = 2.0
"""Above every fraction."""


class Thinning:
    """Looks at each cell once, and again when another split has become known."""

    def __init__(self, splits: SplitHistory) -> None:
        self._splits, self._known = splits, 0
        self._stable: Flags = np.empty(0, np.bool_)
        self._attributed: Flags = np.empty(0, np.bool_)
        self._below: Doubles = np.empty(0)

    def is_stable(self, cells: Cells, numbers: Integers) -> Flags:
        """Whether the lane of each of the numbered cells is stable: shape (n,), as the answers below."""
        self._learn(cells)
        return self._stable[numbers]

    def is_attributed(self, cells: Cells, numbers: Integers) -> Flags:
        """Whether there is a split to which the cell belongs."""
        self._learn(cells)
        return self._attributed[numbers]

    def takes(self, cells: Cells, numbers: Integers, order: Integers) -> Flags:
        """Whether outcomes of the cells with these order hashes go into evidence."""
        self._learn(cells)
        below = self._below[numbers]
        if not below.any():
            return np.zeros(len(numbers), np.bool_)
        fractions = order.view(np.uint64).astype(np.float64) * 2.0**-64
        return np.less(fractions, below)

    def thins(self, cells: Cells, numbers: Integers) -> Flags:
        """Whether it is the order hash alone that decides about outcomes of the cells."""
        self._learn(cells)
        below = self._below[numbers]
        return (below > 0) & (below < 1)

    def _learn(self, cells: Cells) -> None:
        if len(self._splits) != self._known:
            self._known = len(self._splits)
            self._stable, self._attributed, self._below = self._stable[:0], self._attributed[:0], self._below[:0]
        first = len(self._stable)
        if first == len(cells):
            return
        added = [cells[number] for number in range(first, len(cells))]
        self._stable = np.append(self._stable, [cell.lane == STABLE for cell in added])
        self._attributed = np.append(self._attributed, [_is_attributed(cell) for cell in added])
        self._below = np.append(self._below, np.array([self._fraction(cell) for cell in added], np.float64))

    def _fraction(self, cell: Cell) -> float:
        """Outcomes whose order hash lies below it as a fraction of 2^64 go into evidence."""
        if cell.rollout <= 0 or not _is_attributed(cell):
            return 0.0
        share = self._splits.canary_share(cell.epoch, cell.digest) if cell.lane == STABLE else None
        return _ALL if share is None or share >= 1 else STABLE_PER_CANARY * share / (1 - share)


def _is_attributed(cell: Cell) -> bool:
    return cell.epoch > 0 or bool(cell.digest)
