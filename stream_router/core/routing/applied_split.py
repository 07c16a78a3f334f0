"""The split in force, with all that belongs to it."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from stream_router.core.routing.split import ALL_STABLE_RAW, Split, digest_of, parse_split

REMEMBERED: Final = "remembered"
RAISED: Final = "raised above epoch"
REBOUND: Final = "bound to the model versions registered since"
"""How `why` begins where the script has put nothing new in force, only the same under a new epoch."""


def moved_share(before: "AppliedSplit", after: "AppliedSplit") -> float:
    """Which part of all keys changes its lane, 0..1: a rollout keeps its draw, another one has its own."""
    was, is_ = before.canary, after.canary
    return abs(is_ - was) if before.rollout == after.rollout else was * (1 - is_) + is_ * (1 - was)


@dataclass(frozen=True)
class Versions:
    """The two model versions that a rollout is bound to; None where no version is known."""

    stable: str | None = None
    canary: str | None = None


@dataclass(frozen=True)
class Models:
    """`:models`: the version of each lane, the previous stable version and the rollout that was promoted, for undo."""

    stable: str | None = None
    canary: str | None = None
    previous: str | None = None
    promoted: int | None = None


@dataclass(frozen=True, kw_only=True)
class AppliedSplit:
    """One record of R.splits and the content of `:applied`.

    `raw` is the document byte for byte; `canary` its weight; `registered` is False for the split that a router
    declared by itself because the script could not be reached; `time` is in milliseconds since the epoch.
    """

    raw: bytes = ALL_STABLE_RAW
    canary: float = 0.0
    epoch: int = 0
    rollout: int = 0
    bound: Versions = field(default_factory=Versions)
    models: Models = field(default_factory=Models)
    registered: bool = True
    time: int = 0
    who: str = ""
    why: str = ""

    @cached_property
    def digest(self) -> str:
        return digest_of(self.raw)

    @property
    def is_same_anew(self) -> bool:
        """Whether its epoch is new and nothing else: Redis had forgotten the split, or knew less of it."""
        return self.why.startswith((REMEMBERED, RAISED, REBOUND))

    @cached_property
    def split(self) -> Split:
        """The document, parsed. Raises SplitError for one that the script would not have put in force."""
        return parse_split(self.raw)


INITIAL_SPLIT: Final = AppliedSplit()
"""Before the first split everything goes to stable: epoch 0, rollout 0."""
