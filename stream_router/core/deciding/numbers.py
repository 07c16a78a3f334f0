"""What a test says, and the numbers it says it from."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from stream_router.core.deciding.interval import newcombe


class Status(StrEnum):
    """Best to worst."""

    HEALTHY = "healthy"
    INCONCLUSIVE = "inconclusive"
    UNHEALTHY = "unhealthy"

    @property
    def badness(self) -> int:
        """0 for the best."""
        return list(Status).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What a metric's test was fed and what came out; fields as in schemas/rollout_event.

    Labels are outcomes, whatever they are of. difference: canary's rate of good ones minus stable's with the ends of
    its 95 % interval, so that a worse canary's is negative; e_value: capped at threshold = 1 / the metric's alpha.
    """

    stable_labels: int
    stable_bad: int
    canary_labels: int
    canary_bad: int
    blocks: int
    difference: float
    difference_low: float
    difference_high: float
    e_value: float
    threshold: float


class Counts(NamedTuple):
    """Outcomes of both lanes, and the bad ones of them."""

    stable_labels: int = 0
    stable_bad: int = 0
    canary_labels: int = 0
    canary_bad: int = 0

    @property
    def total(self) -> int:
        return self.stable_labels + self.canary_labels

    def plus(self, other: "Counts") -> "Counts":
        return Counts(*map(sum, zip(self, other, strict=True)))


@dataclass(slots=True)
class Totals:
    """Sums over the blocks that a test has bet on."""

    stable_labels: int = 0
    stable_bad: int = 0
    canary_labels: int = 0
    canary_bad: int = 0
    blocks: int = 0

    def add(self, stable_labels: int, stable_bad: int, canary_labels: int, canary_bad: int) -> None:
        self.stable_labels += stable_labels
        self.stable_bad += stable_bad
        self.canary_labels += canary_labels
        self.canary_bad += canary_bad
        self.blocks += 1

    def numbers(self, e_value: float, threshold: float) -> Numbers:
        """With the difference and its 95 % interval (Newcombe 1998, method 10).

        The difference is 0 in [-1, 1] while a lane has no outcome in a block.
        """
        stable_good = self.stable_labels - self.stable_bad
        canary_good = self.canary_labels - self.canary_bad
        low, high = newcombe(canary_good, self.canary_labels, stable_good, self.stable_labels)
        both = self.stable_labels and self.canary_labels
        return Numbers(
            stable_labels=self.stable_labels,
            stable_bad=self.stable_bad,
            canary_labels=self.canary_labels,
            canary_bad=self.canary_bad,
            blocks=self.blocks,
            difference=canary_good / self.canary_labels - stable_good / self.stable_labels if both else 0.0,
            difference_low=low,
            difference_high=high,
            e_value=e_value,
            threshold=threshold,
        )
