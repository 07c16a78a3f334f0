"""The scoring jobs of a route in Redis or Valkey: `:jobs` and `:digests`."""

import json
from dataclasses import asdict
from typing import Any, Final, get_args

from stream_router.adapters.redis.clients import client_for, reaching
from stream_router.core.lane import LANES
from stream_router.core.route import Route
from stream_router.core.scoring.job import JobState, JobStatus
from stream_router.settings import Settings, masked_url

_TEXTS: Final = ("version", "digest", "wanted", "last_error")
_STATES: Final = {state: state for state in get_args(JobState)}


class RedisJobStore:
    """See JobStore. Raises SettingError for a URL or an option that redis-py refuses."""

    def __init__(self, route: Route, settings: Settings) -> None:
        self._jobs, self._digests = route.key("jobs"), route.key("digests")
        self._shown_url = masked_url(settings.redis_url.get_secret_value())
        self._client = client_for(settings)

    def tell(self, status: JobStatus) -> None:
        with reaching(self._shown_url):
            self._client.hset(self._jobs, status.name, job_to_json(status))

    def leave(self, name: str) -> None:
        with reaching(self._shown_url):
            self._client.hdel(self._jobs, name)

    def jobs(self) -> dict[str, JobStatus]:
        with reaching(self._shown_url):
            fields = self._client.hgetall(self._jobs)
        read = (job_from_json(content) for content in fields.values())
        return {job.name: job for job in read if job is not None}

    def record_digest(self, version: str, digest: str) -> str:
        with reaching(self._shown_url), self._client.pipeline(transaction=True) as pipeline:
            pipeline.hsetnx(self._digests, version, digest)
            pipeline.hget(self._digests, version)
            recorded: bytes = pipeline.execute()[1]
        return recorded.decode(errors="backslashreplace")

    def close(self) -> None:
        self._client.close()


def job_to_json(status: JobStatus) -> str:
    return json.dumps(asdict(status))


def job_from_json(content: bytes) -> JobStatus | None:
    """None for what no scoring job has written; fields of later versions are passed over."""
    try:
        fields: dict[str, Any] = json.loads(content)
        lanes = {lane: lane for lane in LANES}
        texts = {name: None if fields[name] is None else str(fields[name]) for name in _TEXTS}
        return JobStatus(
            lane=lanes[fields["lane"]],
            instance=str(fields["instance"]),
            state=_STATES[fields["state"]],
            pinned=bool(fields["pinned"]),
            since=int(fields["since"]),
            seen=int(fields["seen"]),
            **texts,
        )
    except (ValueError, LookupError, TypeError):
        return None
