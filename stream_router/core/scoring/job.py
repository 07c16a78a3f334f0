"""What a scoring job tells of itself, and the interface to where it does: Redis and the fake for tests."""

from dataclasses import dataclass
from typing import Final, Literal, Protocol

from stream_router.core.lane import Lane

JobState = Literal["waiting", "loading", "scoring", "failed"]
"""`waiting` for a version of its lane, `loading` the first one, `failed`: the version that is wanted does not load or
warm up, and another one, if any, goes on scoring.
"""

STALE_AFTER: Final = 10_000
"""Milliseconds without a word after which a job counts as gone."""


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """`version` and `digest` are of the model that scores, None before there is one; `wanted` is the version that the
    job is to score with. `pinned`: it was named at the start, and is not followed. Times in milliseconds since the epoch.
    """

    lane: Lane
    instance: str
    version: str | None
    digest: str | None
    state: JobState
    wanted: str | None
    pinned: bool
    since: int
    seen: int
    last_error: str | None = None

    @property
    def name(self) -> str:
        """Unique in the route: the same host may have a job in each lane."""
        return f"{self.lane}/{self.instance}"

    def is_live(self, now: int) -> bool:
        return now - self.seen < STALE_AFTER


class JobStore(Protocol):
    """The scoring jobs of one route. Every method raises UnreachableError when Redis does not do as asked."""

    def tell(self, status: JobStatus) -> None:
        """Write the job's status in place of its former one."""

    def leave(self, name: str) -> None:
        """The job has ended."""

    def jobs(self) -> dict[str, JobStatus]:
        """By name; what is not a job's own writing is left out."""

    def record_digest(self, version: str, digest: str) -> str:
        """The digest of the version's model, which the first caller records."""

    def close(self) -> None:
        """Close the connections."""
