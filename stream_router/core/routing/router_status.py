"""What a router tells of itself, and the interface to where it does: Redis and the fake for tests."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from stream_router.core.routing.applied_split import AppliedSplit

STALE_AFTER: Final = 10_000
"""Milliseconds without a word after which a router counts as gone."""


@dataclass(frozen=True, kw_only=True)
class RouterStatus:
    """epoch, digest: of the split that it routes by. seen: when it said so, in milliseconds since the epoch."""

    instance: str
    epoch: int
    digest: str
    seen: int

    def is_live(self, now: int) -> bool:
        return now - self.seen < STALE_AFTER


class RouterStore(Protocol):
    """The routers of one route. Every method raises UnreachableError when Redis does not do as asked."""

    def tell(self, status: RouterStatus) -> None:
        """Write the router's status in place of its former one."""

    def leave(self, instance: str) -> None:
        """The router has ended."""

    def routers(self) -> tuple[RouterStatus, ...]:
        """Also those that live no more; what is not a router's own writing is left out."""

    def close(self) -> None:
        """Close the connections."""


def disobeying(routers: Iterable[RouterStatus], applied: AppliedSplit, now: int) -> tuple[str, ...]:
    """The live ones that route by another split; `now` in milliseconds since the epoch."""
    split = applied.epoch, applied.digest
    return tuple(sorted(one.instance for one in routers if one.is_live(now) and (one.epoch, one.digest) != split))
