"""Accuracy: an outcome is a prediction's first label, and bad where the answer was wrong."""

from dataclasses import dataclass

from stream_router.core.evidence import ACCURACY


@dataclass(frozen=True)
class Accuracy:
    """See Metric."""

    name: str = ACCURACY
    worse: str = "less accurate"

    def shown(self, bad: int, outcomes: int) -> str:
        return f"{1 - bad / outcomes:.3f} ({outcomes - bad:,} of {outcomes:,} labels)"
