"""What the lanes' topics can hold."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stream_router.core.routing.header import Headers
from stream_router.errors import LaneError


@dataclass(frozen=True)
class LaneLimits:
    """`topics`: of stable and canary. `retention` in milliseconds, None for ever. Times are ms since the epoch."""

    topics: tuple[str, str]
    retention: int | None
    max_bytes: int

    def may_refuse(
        self,
        values: Iterable[bytes | None],
        keys: Iterable[bytes | None],
        headers: Sequence[Headers | None],
        timestamps: Iterable[int],
        now: int,
    ) -> bool:
        """Whether any record of a batch may have a problem, told from its columns at a fraction of the cost."""
        if self.retention is not None and min(timestamps, default=now) < now - self.retention:
            return True
        largest = max(map(len, filter(None, values)), default=0) + max(map(len, filter(None, keys)), default=0)
        if any(headers):
            largest += max(map(_size, filter(None, headers)))
        return largest > self.max_bytes

    def problem(
        self, value: bytes | None, key: bytes | None, headers: Headers | None, timestamp: int, now: int
    ) -> LaneError | None:
        """Why the lane cannot hold a record."""
        if self.retention is not None and 0 <= timestamp < now - self.retention:
            return LaneError(f"its time {timestamp} is older than the lane's retention.ms {self.retention} allows")
        size = len(value or b"") + len(key or b"") + _size(headers or ())
        if size > self.max_bytes:
            return LaneError(f"it has {size} bytes, and the lane's topics hold {self.max_bytes}")
        return None


def _size(headers: Headers) -> int:
    return sum(len(name) + len(content or b"") + 8 for name, content in headers)
