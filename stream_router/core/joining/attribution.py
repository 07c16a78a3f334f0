"""To which split a prediction belongs, and with which others it is counted."""

from collections.abc import Sequence

import numpy as np

from stream_router.core.evidence import Integers
from stream_router.core.joining.columns import Origin
from stream_router.core.joining.counting import Cell, Cells
from stream_router.core.joining.split_history import SplitHistory
from stream_router.core.policy import Policy


class Attribution:
    """A prediction without epoch and digest belongs to the split in force when it was routed, if there was one.

    That is, of those that were in R.splits when the prediction was written: a function of the two logs.
    """

    def __init__(self, policy: Policy, splits: SplitHistory) -> None:
        self._policy, self._splits = policy, splits

    def cells_of(self, origins: Sequence[Origin], routed_at: Integers, written: Integers, cells: Cells) -> Integers:
        """The number of each prediction's cell, shape (n,); cells that are not there are added.

        `written`: Kafka timestamps.
        """
        known: dict[Origin, int] = {}
        codes = np.array([known.setdefault(origin, len(known)) for origin in origins], np.int64)
        foreign = np.array([origin.epoch == 0 and not origin.digest for origin in known], np.bool_)
        windows, place = np.unique(routed_at - routed_at % self._policy.window, return_inverse=True)
        groups = place * len(known) + codes
        splits = np.full(len(codes), -1)
        if foreign.any():
            made = foreign[codes]
            splits[made] = self._splits.numbers_at(routed_at[made], written[made])
            groups = groups * (len(self._splits) + 1) + splits + 1
        _, first, group = np.unique(groups, return_index=True, return_inverse=True)
        names = list(known)
        numbers = [
            cells.number(self._cell(int(windows[place[at]]), names[codes[at]], int(splits[at])))
            for at in first.tolist()
        ]
        return np.array(numbers, np.int64)[group]

    def _cell(self, window: int, origin: Origin, split: int) -> Cell:
        epoch, digest, rollout, lane, version = origin
        if split >= 0:
            applied = self._splits[split]
            epoch, digest, rollout = applied.epoch, applied.digest, rollout or applied.rollout
        return Cell(window, epoch, digest, rollout, lane, version)
