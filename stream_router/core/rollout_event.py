"""The records of R.rollout-events: what happened to a rollout, with its numbers. Fields as in schemas/rollout_event."""

from dataclasses import dataclass
from typing import Final

ROLLBACK: Final = "rollback"
"""The kind that is the latch of record: every router that reads it carries it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What the test was fed, and the two numbers that decided: evidence against its threshold."""

    stable_labels: int
    stable_bad: int
    canary_labels: int
    canary_bad: int
    blocks: int
    difference: float
    difference_low: float
    difference_high: float
    evidence: float
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutEvent:
    """Times in milliseconds since the epoch."""

    kind: str
    rollout: int
    epoch: int
    digest: str
    metric: str | None = None
    verdict: str
    reason: str
    stable_version: str | None = None
    canary_version: str | None = None
    decided_at: int
    deciding_label_at: int | None = None
    evidence_offset: int | None = None
    numbers: Numbers | None = None
