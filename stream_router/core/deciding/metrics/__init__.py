"""What a release is judged by: a module a metric, all behind one protocol.

Whether an outcome is bad is told where it comes about, in joining; here stands what a verdict says of it.
"""

from typing import Protocol


class Metric(Protocol):
    """name: as outcomes of R.evidence carry it. worse: completes "canary is ... than stable"."""

    @property
    def name(self) -> str: ...

    @property
    def worse(self) -> str: ...

    def shown(self, bad: int, outcomes: int) -> str:
        """The metric's value with what it was counted from, for a sentence; `outcomes` is above 0."""
