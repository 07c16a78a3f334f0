"""What an audit of a router reads and finds: copies of requests, and what is wrong with them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from operator import itemgetter
from typing import Final, Literal, NamedTuple

from stream_router.core.lane import LANES, Lane
from stream_router.core.routing.applied_split import INITIAL_SPLIT, AppliedSplit
from stream_router.core.routing.header import HEADER, Headers, Routing, parse_routing
from stream_router.core.routing.split import Split
from stream_router.errors import HeaderError, SplitError

FaultKind = Literal["lost", "doubled", "reordered", "misrouted", "unknown-split", "changed", "foreign"]
FAULTS: Final[Mapping[FaultKind, str]] = {
    "lost": "the router is past the request, and it stands in no lane",
    "doubled": "the request stands in a lane, or in the dead letters, already",
    "reordered": "a later request stands before it in its lane",
    "misrouted": "its lane is not the one that the split in its header gives it",
    "unknown-split": "the split in its header is none of R.splits",
    "changed": "its key, value, timestamp or headers are not those of the request",
    "foreign": "no request that is near it in the source can be it",
}
"""What each means."""


class Place(NamedTuple):
    """Of a record: `lane` is None in the source."""

    lane: Lane | None
    partition: int
    offset: int


class Fault(NamedTuple):
    """`place` is where the lane's record stands, or in the source the request that was lost."""

    kind: FaultKind
    place: Place
    key: bytes | None
    why: str


class Copy(NamedTuple):
    """A record of the source or of a lane, as much of it as the audit keeps.

    `value` and `content` are hashes: of the value, and of all that a router leaves untouched. `timestamp` is in
    milliseconds since the epoch. `routing` is None in the source, and in a lane where the header is missing.
    """

    offset: int
    timestamp: int
    key: bytes | None
    value: int
    content: int
    routing: Routing | None = None

    @classmethod
    def of_source(
        cls, offset: int, timestamp: int, key: bytes | None, value: bytes | None, headers: Headers | None
    ) -> "Copy":
        return cls._of(offset, timestamp, key, value, tuple(headers or ()), None)

    @classmethod
    def of_lane(
        cls, offset: int, timestamp: int, key: bytes | None, value: bytes | None, headers: Headers | None
    ) -> "Copy":
        """The last header is the router's, those before it are the request's own."""
        *own, last = headers or [("", None)]
        if last[0] != HEADER:
            return cls._of(offset, timestamp, key, value, tuple(headers or ()), None)
        try:
            routing = parse_routing([last])
        except HeaderError:
            routing = None
        return cls._of(offset, timestamp, key, value, tuple(own), routing)

    @classmethod
    def _of(
        cls,
        offset: int,
        timestamp: int,
        key: bytes | None,
        value: bytes | None,
        headers: tuple[tuple[str, bytes | None], ...],
        routing: Routing | None,
    ) -> "Copy":
        timestamp = max(0, timestamp)  # as routers write a missing one
        value_hash = hash(value)
        return cls(offset, timestamp, key, value_hash, hash((key, value_hash, timestamp, headers)), routing)

    def traits(self) -> Iterator[tuple[int, object, object]]:
        """What a changed copy has in common with its request: two of key, value and timestamp."""
        yield 0, self.key, self.value
        yield 1, self.key, self.timestamp
        yield 2, self.value, self.timestamp

    def difference(self, request: "Copy") -> str:
        """Which part of the request it does not keep."""
        for name, own, its in (
            ("key", self.key, request.key),
            ("value", self.value, request.value),
            ("timestamp", self.timestamp, request.timestamp),
        ):
            if own != its:
                return name
        return "headers"


class KnownSplits:
    """The splits that a router may have routed by: those of R.splits, and the one before the first."""

    def __init__(self, applied: Iterable[AppliedSplit]) -> None:
        self._splits: dict[tuple[int, str, int], Split] = {}
        times: list[tuple[int, Split]] = []
        for one in (INITIAL_SPLIT, *applied):
            with suppress(SplitError):  # of a version with another form of the split: whoever routed by it stands out
                self._splits[one.epoch, one.digest, one.rollout] = one.split
                times.append((one.time, one.split))
        times.sort(key=itemgetter(0))
        ends = [*(begin for begin, _ in times[1:]), inf]
        self._given: dict[Lane, float] = {
            lane: max((end for (_, split), end in zip(times, ends, strict=True) if split.weight(lane) > 0), default=0)
            for lane in LANES
        }

    def gave(self, lane: Lane, since: int) -> bool:
        """Whether the lane had a share at this time (milliseconds since the epoch) or later."""
        return self._given[lane] > since

    def of(self, routing: Routing) -> Split | None:
        """By epoch and digest, where the rollout is that of the split, too."""
        return self._splits.get((routing.epoch, routing.digest, routing.rollout))


@dataclass
class Findings:
    """Of any number of partitions.

    `requests` counts those that were judged, `routed` those found in a lane, `dead_letters` those diverted; `waiting`
    are not routed yet, and `before` lie where the lanes, the source or the router itself had not begun. What is older
    than `judged_from` (milliseconds since the epoch) is not read. `faults` counts all, `shown` holds the first `keep`
    of each kind.
    """

    keep: int = 100
    requests: int = 0
    routed: int = 0
    dead_letters: int = 0
    waiting: int = 0
    before: int = 0
    judged_from: int = 0
    faults: Counter[FaultKind] = field(default_factory=Counter)
    shown: list[Fault] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not self.faults

    def add(self, kind: FaultKind, place: Place, key: bytes | None, why: str = "") -> None:
        self.faults[kind] += 1
        if self.faults[kind] <= self.keep:
            self.shown.append(Fault(kind, place, key, why or FAULTS[kind]))
