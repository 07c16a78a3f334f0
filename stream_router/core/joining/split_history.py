"""Which split was in force when: the records of R.splits in order."""

from bisect import bisect_right

import numpy as np

from stream_router.core.evidence import Integers
from stream_router.core.routing.applied_split import AppliedSplit


class SplitHistory:
    """Splits by epoch and digest, and by the time from which they were in force."""

    def __init__(self) -> None:
        self._splits: list[AppliedSplit] = []
        self._since: list[int] = []
        self._canary: dict[tuple[int, str], float] = {}

    def add(self, applied: AppliedSplit) -> None:
        """The next record of R.splits. One of an epoch already passed, or the same again, changes nothing in force.

        A time before that of the split before counts as that one's: the clocks that wrote them differ.
        """
        known = self.knows(applied.epoch, applied.digest)
        self._canary[applied.epoch, applied.digest] = applied.canary
        if self._splits and (known or applied.epoch < self._splits[-1].epoch):
            return
        self._since.append(max(applied.time, self._since[-1]) if self._since else applied.time)
        self._splits.append(applied)

    def __len__(self) -> int:
        """Splits added that changed something."""
        return len(self._canary)

    def __getitem__(self, number: int) -> AppliedSplit:
        """The split of a number that `numbers_at` gave."""
        return self._splits[number]

    def knows(self, epoch: int, digest: str) -> bool:
        """Whether a record of the split has been added."""
        return (epoch, digest) in self._canary

    def canary_share(self, epoch: int, digest: str) -> float | None:
        """Canary's fraction of the requests in [0, 1]; None for a split that is not known."""
        return self._canary.get((epoch, digest))

    def in_force_at(self, time: int) -> AppliedSplit | None:
        """The split in force at a time in milliseconds since the epoch; None before the first."""
        number = bisect_right(self._since, time)
        return self._splits[number - 1] if number else None

    def numbers_at(self, times: Integers) -> Integers:
        """Numbers of the splits in force at times in milliseconds since the epoch, -1 before the first: shape (n,)."""
        return np.searchsorted(np.array(self._since, np.int64), times, "right") - 1
