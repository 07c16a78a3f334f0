"""The fake of `:jobs` and `:digests`; it passes the same contract suite as the real one."""

from stream_router.core.scoring.job import JobStatus
from stream_router.errors import UnreachableError


class FakeJobStore:
    """`away` makes every call fail as if Redis could not be reached."""

    def __init__(self) -> None:
        self.away = False
        self._jobs: dict[str, JobStatus] = {}
        self._digests: dict[str, str] = {}

    def tell(self, status: JobStatus) -> None:
        self._reach()
        self._jobs[status.name] = status

    def leave(self, name: str) -> None:
        self._reach()
        self._jobs.pop(name, None)

    def jobs(self) -> dict[str, JobStatus]:
        self._reach()
        return dict(self._jobs)

    def record_digest(self, version: str, digest: str) -> str:
        self._reach()
        return self._digests.setdefault(version, digest)

    def close(self) -> None:
        pass

    def _reach(self) -> None:
        if self.away:
            raise UnreachableError("the fake Redis is away")
