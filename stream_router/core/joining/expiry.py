"""What to forget when: buckets of time, with the lowest offsets that each bucket rests on."""

from typing import Final

import numpy as np

from stream_router.core.evidence import Integers

NO_OFFSET: Final = 2**63 - 1
"""Higher than any offset."""


class Expiry:
    """Buckets of `width` milliseconds; a bucket expires as a whole, so a row stays up to `width` longer than asked."""

    def __init__(self, width: int) -> None:
        self._width = max(1, width)
        self._lowest: dict[int, tuple[int, int]] = {}

    def note_predictions(self, times: Integers, offsets: Integers) -> None:
        """Rows of these times (ms since the epoch) rest on the predictions at these offsets; shape (n,) each."""
        for bucket, offset in self._by_bucket(times, offsets):
            prediction, label = self._lowest.get(bucket, (NO_OFFSET, NO_OFFSET))
            self._lowest[bucket] = min(prediction, offset), label

    def note_labels(self, times: Integers, offsets: Integers) -> None:
        """Rows of these times (ms since the epoch) rest on the labels at these offsets; shape (n,) each."""
        for bucket, offset in self._by_bucket(times, offsets):
            prediction, label = self._lowest.get(bucket, (NO_OFFSET, NO_OFFSET))
            self._lowest[bucket] = prediction, min(label, offset)

    def expire(self, before: int) -> int | None:
        """Drops the buckets that end at or before the time; the time before which rows go, None if none does."""
        due = [bucket for bucket in self._lowest if (bucket + 1) * self._width <= before]
        for bucket in due:
            del self._lowest[bucket]
        return before // self._width * self._width if due else None

    def lowest(self) -> tuple[int, int]:
        """Lowest offsets of a prediction and of a label in any bucket; NO_OFFSET where there is none."""
        lowest = self._lowest.values()
        return min((pair[0] for pair in lowest), default=NO_OFFSET), min(
            (pair[1] for pair in lowest), default=NO_OFFSET
        )

    def state(self) -> Integers:
        """Shape (buckets, 3)."""
        return np.array([(bucket, *pair) for bucket, pair in self._lowest.items()], np.int64).reshape(-1, 3)

    def restore(self, state: Integers) -> None:
        """What `state` gave, into an empty one of the same width."""
        self._lowest = {bucket: (prediction, label) for bucket, prediction, label in state.tolist()}

    def _by_bucket(self, times: Integers, offsets: Integers) -> list[tuple[int, int]]:
        """The lowest offset of each bucket."""
        if not len(times):
            return []
        buckets = times // self._width
        if buckets.min() == buckets.max():
            return [(int(buckets[0]), int(offsets.min()))]
        found, place = np.unique(buckets, return_inverse=True)
        lowest = np.full(len(found), NO_OFFSET)
        np.minimum.at(lowest, place, offsets)
        return list(zip(found.tolist(), lowest.tolist(), strict=True))
