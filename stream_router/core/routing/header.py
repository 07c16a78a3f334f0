"""The one header that the router adds to a record."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from stream_router.errors import HeaderError

Headers = Sequence[tuple[str, bytes | None]]
"""Of a record."""

HEADER: Final = "stream-router"
_FORM = re.compile(rb"epoch=(\d{1,18});split=([0-9a-f]{12});rollout=(\d{1,18});t=(\d{1,18})")


@dataclass(frozen=True)
class Routing:
    """What the router knew when it routed: `routed_at` in milliseconds since the epoch."""

    epoch: int
    digest: str
    rollout: int
    routed_at: int

    def encode(self) -> bytes:
        return f"epoch={self.epoch};split={self.digest};rollout={self.rollout};t={self.routed_at}".encode()


def parse_routing(headers: Iterable[tuple[str, bytes | str | None]] | None) -> Routing:
    """The routing of a record's headers; of several the last counts. Raises HeaderError where there is none."""
    value = None
    for name, content in headers or ():
        if name == HEADER:
            value = content.encode() if isinstance(content, str) else content
    if value is None:
        raise HeaderError(f"the record has no header {HEADER!r}: only records that a router wrote can be scored")
    return _routing_of(value)


@lru_cache(maxsize=64)
def _routing_of(value: bytes) -> Routing:
    """Requests that were routed together have the same. Raises HeaderError."""
    match = _FORM.fullmatch(value)
    if match is None:
        raise HeaderError(
            f"header {HEADER!r} is {value[:80]!r}: expected epoch=7;split=1f3a9c0b77d2;rollout=3;t=1795420000123"
        )
    epoch, digest, rollout, routed_at = match.groups()
    return Routing(int(epoch), digest.decode(), int(rollout), int(routed_at))
