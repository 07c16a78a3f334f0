"""The walk of an audit: a partition of the source and the same partition of the lanes, in step."""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, cast

from stream_router.core.lane import CANARY, LANES, STABLE, Lane
from stream_router.core.routing.audit import Copy, Findings, KnownSplits, Place
from stream_router.core.routing.header import Routing
from stream_router.core.routing.partitioner import WeightedPartitioner, record_key

REACH: Final = 100_000
"""Records that the walk looks ahead and remembers in each topic, so that memory does not grow with them: more than a
transaction holds, and than one router can be ahead of another in the other lane.
"""

_STEP: Final = 1_000
"""Records read at a time where something is looked for."""

_BATCH: Final = 4_096
"""Records of one split whose lanes are recomputed together."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Between what the walk can judge one partition.

    `committed` is the router's offset: what lies before it is routed. Only records with a timestamp of `since`
    (milliseconds since the epoch) or later are looked at, which a request and its copy share. `whole`: the caller knows
    that the router had begun; otherwise requests before the first routed one are not judged. `cut` are the lanes, and
    `source_cut` says whether it is the source, from which records may have been deleted that would be looked at: all of
    them before the first that is.
    """

    committed: int
    since: int = 0
    whole: bool = False
    cut: AbstractSet[Lane] = frozenset()
    source_cut: bool = False


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How the lanes were drawn; `topic` is the source's name."""

    route: str
    topic: str
    by_request: bool
    splits: KnownSplits


class PartitionWalk:
    """Matches each lane's records with requests by their content, since no header names the request's offset.

    What is matched is forgotten after `reach` records; what waits for its match is held, `reach` records at most.
    """

    def __init__(
        self,
        rules: Rules,
        bounds: Bounds,
        partition: int,
        diverted: AbstractSet[int],
        findings: Findings,
        reach: int = REACH,
    ) -> None:
        """`diverted`: offsets of the requests in the dead letters."""
        self._rules, self._bounds, self._partition, self._diverted = rules, bounds, partition, diverted
        self._findings, self._reach = findings, reach
        self._pending: dict[int, Copy] = {}
        self._by_content: defaultdict[int, list[int]] = defaultdict(list)
        self._done: OrderedDict[int, int] = OrderedDict()
        self._lost: deque[Copy] = deque(maxlen=reach)
        self._strays: deque[tuple[Lane, Copy]] = deque(maxlen=reach)
        self._first: int | None = None
        self._last: dict[Lane, int] = {}
        self._begun: dict[Lane, int] = {}
        self._placed: defaultdict[Routing, list[tuple[Lane, Copy, int]]] = defaultdict(list)

    def run(self, source: Iterable[Copy], lanes: Mapping[Lane, Iterable[Copy]]) -> None:
        """Reads both to their ends, each in the order of its offsets."""
        ahead, queues = self._recent(source), {lane: _Ahead(self._recent(lanes.get(lane, ()))) for lane in LANES}
        self._read(ahead, 1)
        while True:
            if (found := self._next_match(queues)) is not None:
                lane, offset = found
                self._match(lane, queues[lane].pop(), offset)
                if not self._pending:
                    self._read(ahead, 1)
            elif len(self._pending) < self._reach and self._read(ahead, _STEP):
                continue
            elif (lane_of_strays := self._lane_of_strays(queues)) is not None:
                self._stray(lane_of_strays, queues[lane_of_strays].pop())
            elif len(self._pending) < self._reach:
                break
            else:
                for offset in list(islice(self._pending, self._reach // 2)):
                    self._give_up(offset)
        self._end(queues)

    def _recent(self, copies: Iterable[Copy]) -> Iterator[Copy]:
        return (copy for copy in copies if copy.timestamp >= self._bounds.since)

    def _read(self, source: Iterator[Copy], count: int) -> bool:
        """Takes that many requests which will have a match from the source; False if there is none any more."""
        before = len(self._pending)
        for request in source:
            if request.offset in self._diverted:
                self._findings.requests += 1
                self._findings.dead_letters += 1
                self._remember(request)
                continue
            self._pending[request.offset] = request
            self._by_content[request.content].append(request.offset)
            count -= 1
            if not count:
                break
        return len(self._pending) > before

    def _next_match(self, queues: "Mapping[Lane, _Ahead]") -> tuple[Lane, int] | None:
        """The lane whose next record is the earliest request, and that request's offset."""
        found: list[tuple[int, Lane]] = []
        for lane, queue in queues.items():
            if (head := queue.head()) is not None and (offsets := self._by_content.get(head.content)):
                found.append((offsets[0] if len(offsets) == 1 else self._likeliest(lane, head, offsets), lane))
        if len(found) == len(LANES) and found[0][0] == found[1][0]:
            # Of two requests that are alike the first was routed under the earlier split; of one that was written
            # twice the copy in the wrong lane is the one too many.
            offset = found[0][0]
            heads = [(lane, cast("Copy", queues[lane].head())) for _, lane in found]
            lane, _ = min(heads, key=lambda one: (_epoch(one[1]), not self._belongs(one[0], one[1], offset)))
            return lane, offset
        return min(found)[::-1] if found else None

    def _likeliest(self, lane: Lane, record: Copy, offsets: list[int]) -> int:
        """Of requests that are alike but for their place: the next that belongs into the lane."""
        belong = [one for one in offsets if self._belongs(lane, record, one)] or offsets
        last = self._last.get(lane, -1)
        return next((one for one in belong if one > last), belong[0])

    def _belongs(self, lane: Lane, record: Copy, offset: int) -> bool:
        """Whether the split in its header gives the request at the offset to the lane."""
        if record.routing is None or (split := self._rules.splits.of(record.routing)) is None:
            return False
        partitioner = WeightedPartitioner(self._rules.route, record.routing.rollout)
        return partitioner.lane(self._key(record, offset), split) == lane

    def _lane_of_strays(self, queues: "Mapping[Lane, _Ahead]") -> Lane | None:
        """The lane whose next record stands in the way of one that has its request.

        No lane's next record has one: the other lane's may be far ahead of the source where its share is small.
        """
        for lane, queue in queues.items():
            if (head := queue.head()) is not None and head.content in self._done:
                return lane
        steps = {lane: queue.find(self._by_content, self._reach) for lane, queue in queues.items()}
        found = [(step, lane) for lane, step in steps.items() if step is not None]
        return min(found)[1] if found else None

    def _match(self, lane: Lane, record: Copy, offset: int) -> None:
        request = self._forget(offset)
        self._remember(request)
        findings, place = self._findings, Place(lane, self._partition, record.offset)
        findings.requests += 1
        findings.routed += 1
        self._first = offset if self._first is None else min(self._first, offset)
        self._begun.setdefault(lane, offset)
        if offset < self._last.get(lane, -1):
            findings.add("reordered", place, record.key, f"request {offset} stands behind request {self._last[lane]}")
        else:
            self._last[lane] = offset
        if record.routing is None:
            findings.add("unknown-split", place, record.key, "it has no header of a router that can be read")
            return
        batch = self._placed[record.routing]
        batch.append((lane, record, offset))
        if len(batch) >= _BATCH or len(self._placed) > _BATCH:
            self._judge_places()

    def _judge_places(self) -> None:
        for routing, batch in self._placed.items():
            if (split := self._rules.splits.of(routing)) is None:
                for lane, record, _ in batch:
                    why = f"R.splits has no epoch {routing.epoch} with {routing.digest} and rollout {routing.rollout}"
                    self._findings.add("unknown-split", Place(lane, self._partition, record.offset), record.key, why)
                continue
            partitioner = WeightedPartitioner(self._rules.route, routing.rollout)
            to_canary = partitioner.is_canary([self._key(record, offset) for _, record, offset in batch], split)
            for (lane, record, offset), canary in zip(batch, to_canary, strict=True):
                if (right := CANARY if canary else STABLE) != lane and self._is_known(record, offset):
                    why = f"epoch {routing.epoch} gives request {offset} to {right}"
                    self._findings.add("misrouted", Place(lane, self._partition, record.offset), record.key, why)
        self._placed.clear()

    def _is_known(self, record: Copy, offset: int) -> bool:
        """Whether the record must be that request's.

        Behind the router's offset it may be that of one which is alike. This has the same key, if the key is what it is
        drawn by, but another offset.
        """
        return offset < self._bounds.committed or not (self._rules.by_request or record.key is None)

    def _key(self, record: Copy, offset: int) -> bytes:
        key = None if self._rules.by_request else record.key
        return record_key(key, self._rules.topic, self._partition, offset)

    def _stray(self, lane: Lane, record: Copy) -> None:
        """A record without a request of its own."""
        if (first := self._done.get(record.content)) is not None:
            place = Place(lane, self._partition, record.offset)
            self._findings.add("doubled", place, record.key, f"request {first} stands there already")
        elif not self._bounds.source_cut or lane in self._begun:
            self._hold(lane, record)

    def _hold(self, lane: Lane, record: Copy) -> None:
        if len(self._strays) == self._reach:
            self._foreign(*self._strays.popleft())
        self._strays.append((lane, record))

    def _foreign(self, lane: Lane, record: Copy) -> None:
        self._findings.add("foreign", Place(lane, self._partition, record.offset), record.key)

    def _give_up(self, offset: int) -> None:
        """A request that no lane has."""
        request = self._forget(offset)
        passed = all(offset < self._last.get(lane, -1) for lane in LANES)
        if offset >= self._bounds.committed and not passed:
            self._findings.waiting += 1
        elif not self._is_judged(request):
            self._findings.before += 1
        else:
            self._findings.requests += 1
            if len(self._lost) == self._reach:
                self._is_lost(self._lost.popleft())
            self._lost.append(request)

    def _is_judged(self, request: Copy) -> bool:
        """Whether a lane that had the request would still have it, behind where the walk began."""
        bounds, offset = self._bounds, request.offset
        if not bounds.whole and (self._first is None or offset < self._first):
            return False
        return all(lane in self._begun and offset >= self._begun[lane] for lane in bounds.cut)

    def _is_lost(self, request: Copy) -> None:
        self._findings.add("lost", Place(None, self._partition, request.offset), request.key)

    def _end(self, queues: "Mapping[Lane, _Ahead]") -> None:
        for lane, queue in queues.items():
            while queue.head() is not None:
                self._stray(lane, queue.pop())
        for offset in list(self._pending):
            self._give_up(offset)
        self._judge_places()
        self._pair_changed()
        for lane, record in self._strays:
            self._foreign(lane, record)
        for request in self._lost:
            self._is_lost(request)

    def _pair_changed(self) -> None:
        """A request that was lost and a stray record that resembles it are one that was changed."""
        twins: defaultdict[object, deque[Copy]] = defaultdict(deque)
        for request in self._lost:
            for trait in request.traits():
                twins[trait].append(request)
        found: set[int] = set()
        strays, self._strays = self._strays, deque()
        for lane, record in strays:
            for candidates in [twins[trait] for trait in record.traits() if trait in twins]:
                while candidates and candidates[0].offset in found:
                    candidates.popleft()
                if candidates:
                    twin = candidates[0]
                    found.add(twin.offset)
                    self._findings.routed += 1
                    why = f"its {record.difference(twin)} is not that of request {twin.offset}"
                    self._findings.add("changed", Place(lane, self._partition, record.offset), record.key, why)
                    break
            else:
                self._strays.append((lane, record))
        self._lost = deque(request for request in self._lost if request.offset not in found)

    def _forget(self, offset: int) -> Copy:
        request = self._pending.pop(offset)
        offsets = self._by_content[request.content]
        offsets.remove(offset)
        if not offsets:
            del self._by_content[request.content]
        return request

    def _remember(self, request: Copy) -> None:
        self._done.pop(request.content, None)
        self._done[request.content] = request.offset
        if len(self._done) > self._reach:
            self._done.popitem(last=False)


@dataclass
class _Ahead:
    """A lane, looked ahead into."""

    records: Iterator[Copy]
    read: deque[Copy] = field(default_factory=deque)

    def head(self) -> Copy | None:
        if not self.read:
            self.read.extend(islice(self.records, 1))
        return self.read[0] if self.read else None

    def pop(self) -> Copy:
        return self.read.popleft()

    def find(self, contents: Mapping[int, object], reach: int) -> int | None:
        """How many records on the first is that is one of the contents, `reach` at most."""
        while True:
            for step, record in enumerate(self.read):
                if record.content in contents:
                    return step
            before = len(self.read)
            if before >= reach:
                return None
            self.read.extend(islice(self.records, before + _STEP))
            if len(self.read) == before:
                return None


def _epoch(record: Copy) -> int:
    return record.routing.epoch if record.routing else 0
