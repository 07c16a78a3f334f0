"""What to forget when: request ids in buckets of time, with the lowest offsets that each bucket rests on."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

NO_OFFSET: Final = 2**63 - 1
"""Higher than any offset."""


@dataclass(slots=True)
class Bucket:
    """Lowest offsets of the predictions and labels that made the rows of the bucket."""

    prediction: int = NO_OFFSET
    label: int = NO_OFFSET
    request_ids: list[str] = field(default_factory=list)


class Expiry:
    """Buckets of `width` milliseconds; a bucket expires as a whole, so an id stays up to `width` longer than asked."""

    def __init__(self, width: int) -> None:
        self._width = max(1, width)
        self._buckets: dict[int, Bucket] = {}

    def bucket(self, time: int) -> Bucket:
        """The bucket of a time in milliseconds since the epoch."""
        number = time // self._width
        found = self._buckets.get(number)
        if found is None:
            found = self._buckets[number] = Bucket()
        return found

    def expire(self, before: int) -> Iterator[str]:
        """Drops the buckets that end at or before the time, and yields their request ids."""
        for number in [number for number in self._buckets if (number + 1) * self._width <= before]:
            yield from self._buckets.pop(number).request_ids

    def lowest(self) -> tuple[int, int]:
        """Lowest offsets of a prediction and of a label in any bucket; NO_OFFSET where there is none."""
        buckets = self._buckets.values()
        return (
            min((bucket.prediction for bucket in buckets), default=NO_OFFSET),
            min((bucket.label for bucket in buckets), default=NO_OFFSET),
        )
