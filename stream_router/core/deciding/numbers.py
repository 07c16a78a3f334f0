"""What a test says, and the numbers it says it from."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Best to worst; the worst of several metrics wins."""

    HEALTHY = "healthy"
    INCONCLUSIVE = "inconclusive"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What the test was fed and what came out; fields as in schemas/rollout_event.

    difference: canary's accuracy minus stable's with the ends of its 95 % interval; e_value: the e-process, capped
    at threshold = 1 / alpha.
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
