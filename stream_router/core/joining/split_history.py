"""Which split was in force when: the records of R.splits in order."""

from bisect import bisect_right
from typing import Final

import numpy as np

from stream_router.core.evidence import Integers
from stream_router.core.routing.applied_split import INITIAL_SPLIT, AppliedSplit

_ALL: Final = 2**63 - 1


class SplitHistory:
    """Splits by epoch and digest, and by the time from which they were in force.

    A router writes a split a little after its time, so what reads R.splits in between may not have it yet. That two
    readers say the same of a record of another topic, only splits count for it whose own records are not younger.
    INITIAL_SPLIT, of which there is no record, is known from the start.
    """

    def __init__(self) -> None:
        self._splits: list[AppliedSplit] = []
        self._since: list[int] = []
        self._written: list[int] = []
        self._canary = {(INITIAL_SPLIT.epoch, INITIAL_SPLIT.digest): INITIAL_SPLIT.canary}

    def add(self, applied: AppliedSplit, written: int = 0) -> None:
        """The next record of R.splits. One of an epoch already passed, or the same again, changes nothing in force.

        `written`: its Kafka timestamp. Times before those of the split before count as that one's: the clocks that
        wrote them differ.
        """
        known = self.knows(applied.epoch, applied.digest)
        self._canary[applied.epoch, applied.digest] = applied.canary
        if self._splits and (known or applied.epoch < self._splits[-1].epoch):
            return
        self._since.append(max([applied.time, *self._since[-1:]]))
        self._written.append(max([written, *self._written[-1:]]))
        self._splits.append(applied)

    def __len__(self) -> int:
        """Splits that are known."""
        return len(self._canary)

    def __getitem__(self, number: int) -> AppliedSplit:
        """The split of a number that `numbers_at` gave."""
        return self._splits[number]

    @property
    def newest(self) -> AppliedSplit | None:
        """The latest split that came into force; None before the first."""
        return self._splits[-1] if self._splits else None

    def knows(self, epoch: int, digest: str) -> bool:
        """Whether the split needs no record any more."""
        return (epoch, digest) in self._canary

    def canary_share(self, epoch: int, digest: str) -> float | None:
        """Canary's fraction of the requests in [0, 1]; None for a split that is not known."""
        return self._canary.get((epoch, digest))

    def in_force_at(self, time: int, written: int = _ALL) -> AppliedSplit | None:
        """The split in force at a time, as far as was written then, both in ms since the epoch; None before the first.

        `written`: the Kafka timestamp of the record that is asked for.
        """
        number = min(bisect_right(self._since, time), bisect_right(self._written, written))
        return self._splits[number - 1] if number else None

    def numbers_at(self, times: Integers, written: Integers) -> Integers:
        """Numbers of the splits that `in_force_at` gives, -1 where it gives none: shape (n,), as of both arguments."""
        in_force = np.searchsorted(np.array(self._since, np.int64), times, "right")
        known = np.searchsorted(np.array(self._written, np.int64), written, "right")
        return np.minimum(in_force, known) - 1
