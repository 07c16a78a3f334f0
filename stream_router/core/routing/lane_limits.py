"""What the lanes' topics can hold."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

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
        values: Sequence[bytes | None],
        keys: Sequence[bytes | None],
        headers: Iterable[Headers | None],
        oldest: int,
        now: int,
    ) -> bool:
        """Whether any record of a batch may have a problem, told from its columns at a fraction of the cost.

        `oldest` is the least of its timestamps; without records, `now`.
        """
        if self.retention is not None and oldest < now - self.retention:
            return True
        largest = _longest(values) + _longest(keys) + max(map(_size, filter(None, headers)), default=0)
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


def _longest(column: Sequence[bytes | None]) -> int:
    try:
        return max(map(len, cast("Sequence[bytes]", column)), default=0)  # half the time, where no None is among them
    except TypeError:
        return max(map(len, filter(None, column)), default=0)


def _size(headers: Headers) -> int:
    return sum(len(name) + len(content or b"") + 8 for name, content in headers)
