"""The records of R.rollout-events: what happened to a rollout, with its numbers. Fields as in schemas/rollout_event."""

from dataclasses import dataclass, replace
from typing import Final, Literal

from stream_router.core.deciding.numbers import Numbers
from stream_router.core.deciding.verdict import Verdict
from stream_router.core.policy import Role
from stream_router.core.routing.applied_split import AppliedSplit

ROLLBACK: Final = "rollback"
"""The kind that is the latch of record: every router that reads it carries it out."""

VERDICT: Final = "verdict"
"""The kind that says what a metric, or a plain rule, came to: nobody acts on it."""

Act = Literal["abort", "undo"]
"""What stands in the place of the verdict in a person's rollback: of a rollout that runs, or of a promoted one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutEvent:
    """Times in milliseconds since the epoch. role and policy_digest are those of a verdict; see Verdict.

    Of a kind that is neither a rollback nor a verdict it is what all records of the topic have in common.
    """

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


def persons_rollback(act: Act, applied: AppliedSplit, rollout: int, by: str, reason: str, now: int) -> RolloutEvent:
    """A person's rollback, decided while `applied` was in force; `now` in milliseconds since the epoch.

    Who it was stands in the reason: a field of its own could not be read by routers of version 1 of the schema.
    """
    return RolloutEvent(
        kind=ROLLBACK,
        rollout=rollout,
        epoch=applied.epoch,
        digest=applied.digest,
        verdict=act,
        reason=f"{act} by {by}: {reason}",
        stable_version=applied.bound.stable,
        canary_version=applied.bound.canary,
        decided_at=now,
    )


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
