"""What is counted of a lane."""

from dataclasses import dataclass

from stream_router.core.deciding.interval import Interval, wilson


@dataclass(frozen=True)
class LaneCount:
    """Of one lane: requests routed, predictions with a label, right ones among them."""

    requests: int = 0
    labelled: int = 0
    correct: int = 0

    @property
    def accuracy(self) -> float | None:
        return self.correct / self.labelled if self.labelled else None

    @property
    def interval(self) -> Interval:
        """95 % interval of the accuracy."""
        return wilson(self.correct, self.labelled)
