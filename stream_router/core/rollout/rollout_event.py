"""The records of R.rollout-events: what happened to a rollout, with its numbers. Fields as in schemas/rollout_event."""

from dataclasses import dataclass, replace
from typing import Final

from stream_router.core.deciding.numbers import Numbers
from stream_router.core.deciding.verdict import Verdict
from stream_router.core.policy import Role

ROLLBACK: Final = "rollback"
"""The kind that is the latch of record: every router that reads it carries it out."""

VERDICT: Final = "verdict"
"""The kind that says what a metric, or a plain rule, came to: nobody acts on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutEvent:
    """Times in milliseconds since the epoch. role and policy_digest are those of a verdict; see Verdict."""

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
    role: Role | None = None
    policy_digest: str | None = None


def rollback_event(verdict: Verdict, now: int) -> RolloutEvent:
    """The rollback that follows from an unhealthy verdict; `now` in milliseconds since the epoch."""
    return _event(ROLLBACK, verdict, now)


def verdict_event(verdict: Verdict, now: int) -> RolloutEvent:
    """The record of a verdict; `now` in milliseconds since the epoch."""
    return replace(_event(VERDICT, verdict, now), role=verdict.role, policy_digest=verdict.policy_digest)


def _event(kind: str, verdict: Verdict, now: int) -> RolloutEvent:
    return RolloutEvent(
        kind=kind,
        rollout=verdict.rollout,
        epoch=verdict.epoch or 0,
        digest=verdict.digest or "",
        metric=verdict.metric,
        verdict=verdict.status.value,
        reason=verdict.reason,
        stable_version=verdict.stable_version,
        canary_version=verdict.canary_version,
        decided_at=now,
        deciding_label_at=verdict.deciding_label_at,
        evidence_offset=verdict.offset,
        numbers=verdict.numbers,
    )
