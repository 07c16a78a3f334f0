"""What the machine looks at beside the log: verdicts, holds, scoring jobs, routers, and what `:applied` says."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from stream_router.core.deciding.numbers import Status
from stream_router.core.lane import Lane
from stream_router.core.policy import Policy, Role
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.scoring.job import JobStatus

JOB_SEEN_FOR_MS: Final = 10_000
"""Milliseconds after which a scoring job that has not told of itself does not live."""


class Judged(NamedTuple):
    """What a metric, or a plain rule, says."""

    name: str
    role: Role
    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringJob:
    """As `:jobs` tells it; `version` is the model it serves, or could not load; seen in ms since the epoch."""

    instance: str
    lane: Lane
    version: str
    state: Literal["loading", "serving", "failed"]
    seen: int
    error: str = ""

    @classmethod
    def of(cls, status: JobStatus) -> "ScoringJob":
        is_failed = status.state == "failed"
        return cls(
            instance=status.instance,
            lane=status.lane,
            version=(status.wanted if is_failed else status.version) or "",
            state="failed" if is_failed else "serving" if status.state == "scoring" else "loading",
            seen=status.seen,
            error=status.last_error or "",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Of the rollout in force.

    judged: one for each metric that is judged. holds: why it does not go on, a sentence each, unhealthy signals among
    them. labels: mature ones of canary since its weight came into force. max_labels_reached: of the whole rollout.
    routers_obey: whether all route by the split in force. applied: what `:applied` says now, None where Redis does not
    answer; refused: why the script has refused what it was asked for last. policy: the route's default.
    """

    policy: Policy = field(default_factory=Policy)
    judged: tuple[Judged, ...] = ()
    holds: tuple[str, ...] = ()
    jobs: tuple[ScoringJob, ...] = ()
    labels: int = 0
    max_labels_reached: bool = False
    routers_obey: bool = True
    applied: AppliedSplit | None = None
    refused: str | None = None

    def live_jobs(self, lane: Lane, now: int) -> tuple[ScoringJob, ...]:
        return tuple(job for job in self.jobs if job.lane == lane and now - job.seen <= JOB_SEEN_FOR_MS)

    def failed_job(self, version: str | None, now: int) -> ScoringJob | None:
        """A live one of canary that cannot serve the version."""
        jobs = self.live_jobs("canary", now)
        return next((job for job in jobs if job.state == "failed" and job.version == version), None)

    @property
    def unhealthy(self) -> tuple[Judged, ...]:
        """Guardrails that are: the rollout is being rolled back for it."""
        return tuple(one for one in self.judged if one.role == "guardrail" and one.status is Status.UNHEALTHY)

    def unproven(self) -> Iterator[str]:
        """Why the guardrails do not show a healthy canary, a sentence each; without any nothing is shown."""
        guardrails = [one for one in self.judged if one.role == "guardrail"]
        if not guardrails:
            yield "no guardrail is judged, so that nothing shows canary to be healthy"
        yield from (f"{one.name} is {one.status}" for one in guardrails if one.status is not Status.HEALTHY)
