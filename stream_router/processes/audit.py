"""The audit of a router: reads R.requests beside its lanes, and says what is wrong in them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from stream_router.adapters.clock import now_ms
from stream_router.adapters.kafka.audited import PartitionReader, committed_offsets, settled_ends
from stream_router.adapters.kafka.clients import lane_partition_count, stable_ends
from stream_router.adapters.kafka.control_topics import ControlTopics
from stream_router.adapters.kafka.polling import Record
from stream_router.adapters.kafka.record_headers import readable_headers
from stream_router.core.lane import LANES
from stream_router.core.route import Route
from stream_router.core.routing.audit import Copy, Findings, KnownSplits
from stream_router.core.routing.audit_walk import Bounds, PartitionWalk, Rules
from stream_router.settings import Settings

_REPORT_EVERY: Final = 10_000
"""Offsets between two reports of the progress."""

Progress = Callable[[int, int], None]
"""Called with the offsets of the source that have been read, and all there are."""


@dataclass(frozen=True)
class _Ends:
    """Up to where is read. Asked for in this order: each holds what follows from the one before."""

    committed: dict[int, int]
    settled: dict[str, dict[int, int]]
    source: dict[int, int]


def audit_route(settings: Settings, route: Route, *, since: int | None, progress: Progress) -> Findings:
    """Audit what is routed now, while routers run or not.

    `since`: only requests with this timestamp (milliseconds since the epoch) or a later one, and none of them may be
    missing; without it those before the first routed one are not judged, for a router may have begun behind them.

    Raises TopicError where source and lanes differ in their partitions or a transaction stays open, UnreachableError,
    GapError where retention overtakes the audit.
    """
    requests = route.topic("requests")
    partitions = lane_partition_count(settings, route)
    ends = _Ends(
        committed_offsets(settings, route.router_group, requests, partitions),
        settled_ends(
            settings, [*(route.lane_topic(lane) for lane in LANES), route.topic("dead-letters"), route.topic("splits")]
        ),
        stable_ends(settings, requests, partitions),
    )
    control = ControlTopics(settings, route)
    try:
        splits = KnownSplits(control.read_to_ends().splits)
    finally:
        control.close()
    by_request = settings.route.assign_by == "request"
    rules = Rules(route=route.name, topic=requests, by_request=by_request, splits=splits)
    audit, findings = _Audit(settings, route, rules, ends, progress), Findings()
    try:
        for partition in range(partitions):
            audit.walk(partition, since, findings)
    finally:
        audit.close()
    return findings


class _Audit:
    def __init__(self, settings: Settings, route: Route, rules: Rules, ends: _Ends, progress: Progress) -> None:
        self._route, self._rules, self._ends, self._progress = route, rules, ends, progress
        self._reader = PartitionReader(settings)
        self._now = now_ms()
        self._read, self._all = 0, sum(ends.source.values())
        self._letters_kept_since = 0
        self._diverted = self._read_dead_letters()

    def close(self) -> None:
        self._reader.close()

    def walk(self, partition: int, since: int | None, findings: Findings) -> None:
        source, source_end = self._rules.topic, self._ends.source[partition]
        ends = {lane: self._ends.settled[self._route.lane_topic(lane)][partition] for lane in LANES}
        begin = self._reader.beginning(source, partition, source_end, self._now)
        begins = {
            lane: self._reader.beginning(self._route.lane_topic(lane), partition, end, self._now)
            for lane, end in ends.items()
        }
        # What was deleted in one of them has no counterpart in the others: they all begin with the last that does.
        from_time = max(
            since or 0,
            self._letters_kept_since,
            *(max(one.first or 0, one.kept_since) for one in (begin, *begins.values())),
        )
        findings.judged_from = max(findings.judged_from, from_time)

        def start(topic: str, low: int, end: int) -> int:
            return self._reader.offset_at(topic, partition, from_time, end) if from_time else low

        start_of_source = start(source, begin.low, source_end)
        starts = {lane: start(self._route.lane_topic(lane), begins[lane].low, end) for lane, end in ends.items()}
        is_near = from_time > (since or 0)
        bounds = Bounds(
            committed=self._ends.committed[partition],
            since=from_time,
            whole=since is not None,
            cut={
                lane
                for lane in LANES
                if begins[lane].may_lack(starts[lane], is_near=is_near)
                and (starts[lane] < ends[lane] or self._rules.splits.gave(lane, from_time))
            },
            source_cut=begin.may_lack(start_of_source, is_near=is_near),
        )
        diverted = self._diverted.get(partition, set())
        PartitionWalk(self._rules, bounds, partition, diverted, findings).run(
            _copies(
                self._reader.records(source, partition, start_of_source, source_end, self._on_position),
                Copy.of_source,
            ),
            {
                lane: _copies(
                    self._reader.records(self._route.lane_topic(lane), partition, starts[lane], end), Copy.of_lane
                )
                for lane, end in ends.items()
            },
        )
        self._read = sum(self._ends.source[done] for done in range(partition + 1))
        self._progress(self._read, self._all)

    def _on_position(self, offset: int) -> None:
        if offset % _REPORT_EVERY == 0:
            self._progress(self._read + offset, self._all)

    def _read_dead_letters(self) -> dict[int, set[int]]:
        """Offsets of the requests that a router diverted, by partition."""
        topic, diverted = self._route.topic("dead-letters"), dict[int, set[int]]()
        for partition, end in self._ends.settled[topic].items():
            begin = self._reader.beginning(topic, partition, end, self._now)
            self._letters_kept_since = max(self._letters_kept_since, begin.first or 0, begin.kept_since)
            for record in self._reader.records(topic, partition, begin.low, end):
                # Headers of the request's own may have these names: ours come last.
                added = dict(readable_headers(record) or ())
                if added.get("__connect.errors.topic") != self._rules.topic.encode():
                    continue
                if added.get("__connect.errors.stage") == b"route":
                    place = [added[f"__connect.errors.{part}"] or b"" for part in ("partition", "offset")]
                    diverted.setdefault(int(place[0]), set()).add(int(place[1]))
        return diverted


def _copies(records: Iterable[Record], make: Callable[..., Copy]) -> Iterator[Copy]:
    for record in records:
        yield make(record.offset(), record.timestamp()[1], record.key(), record.value(), readable_headers(record))
