"""The audit of a router: nothing to be found in valid histories, and each planted fault found, and only it."""

from dataclasses import replace
from itertools import combinations_with_replacement
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_router.core.routing.applied_split import INITIAL_SPLIT, AppliedSplit
from stream_router.core.routing.audit import Copy, Findings, KnownSplits
from stream_router.core.routing.audit_walk import Bounds, PartitionWalk, Rules
from stream_router.core.routing.header import HEADER, Routing
from stream_router.core.routing.partitioner import WeightedPartitioner, record_key

ROUTE, TOPIC, PARTITION = "flights", "flights.requests", 3
HALF = AppliedSplit(raw=b'{"stable": 0.5, "canary": 0.5}', canary=0.5, epoch=1, rollout=1)
QUARTER = AppliedSplit(raw=b'{"stable": 0.75, "canary": 0.25}', canary=0.25, epoch=2, rollout=2)
untimed = settings(deadline=None)
SPLITS = (INITIAL_SPLIT, HALF, QUARTER)


class Request(NamedTuple):
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Routed(NamedTuple):
    request: Request
    routing: Routing | None

    def copy(self, offset: int) -> Copy:
        request, header = self.request, self.routing
        added = [(HEADER, header.encode())] if header else []
        return Copy.of_lane(offset, request.timestamp, request.key, request.value, [*request.headers, *added])


class History:
    """A partition of a source, and what a router made of it."""

    def __init__(self, source, *, skipped=(), by_request=False):
        """`source`: (request, split) in the order of offsets. `skipped`: offsets that were not routed."""
        self.source = [request for request, _ in source]
        self.by_request = by_request
        self.lanes: dict[str, list[Routed]] = {"stable": [], "canary": []}
        for request, applied in source:
            if request.offset not in skipped:
                self.lanes[lane_of(request, applied, by_request=by_request)].append(
                    Routed(request, Routing(applied.epoch, applied.digest, applied.rollout, request.timestamp + 5))
                )

    def findings(self, *, reach=1_000, diverted=frozenset(), starts=(0, 0), **bounds) -> Findings:
        findings = Findings()
        rules = Rules(route=ROUTE, topic=TOPIC, by_request=self.by_request, splits=KnownSplits(SPLITS))
        at = Bounds(**{"committed": 10**9, "whole": True} | bounds)
        copies = {
            lane: [routed.copy(offset) for offset, routed in enumerate(records)][start:]
            for (lane, records), start in zip(self.lanes.items(), starts, strict=True)
        }
        requests = (Copy.of_source(*request) for request in self.source)
        PartitionWalk(rules, at, PARTITION, diverted, findings, reach).run(requests, copies)
        return findings


def lane_of(request, applied, *, by_request=False):
    key = record_key(None if by_request else request.key, TOPIC, PARTITION, request.offset)
    return WeightedPartitioner(ROUTE, applied.rollout).lane(key, applied.split)


def numbered(count, applied=HALF):
    return [(Request(n, 1_000 + n // 3, f"user-{n % 17}".encode(), b"%d" % n), applied) for n in range(count)]


def found(findings):
    return [(fault.kind, fault.place.lane, fault.place.offset) for fault in findings.shown]


@st.composite
def sources(draw):
    """Requests with gaps between their offsets, times out of order and, often, nothing that tells two of them apart."""
    number, offset, splits = draw(st.integers(0, 60)), 0, sorted(draw(st.lists(st.sampled_from([0, 1, 2]), min_size=1)))
    source = []
    for index in range(number):
        offset += draw(st.integers(1, 3))
        key, value = draw(st.sampled_from([None, b"", b"a", b"b"])), draw(st.sampled_from([b"1", b"2"]))
        headers = draw(st.sampled_from([(), (("h", b"1"), ("h", None)), ((HEADER, b"theirs"),)]))
        request = Request(offset, draw(st.integers(-1, 3)), key, value, headers)
        source.append((request, SPLITS[splits[index * len(splits) // number]]))
    return source


@untimed
@given(sources(), st.booleans(), st.data())
def test_a_valid_history_has_no_fault(source, by_request, data):
    offsets = [request.offset for request, _ in source]
    diverted = frozenset(data.draw(st.lists(st.sampled_from(offsets)))) if offsets else frozenset()
    committed = data.draw(st.integers(0, 200))
    behind = data.draw(st.integers(0, 200))  # routed up to here, which is not before the committed offset
    waiting = {offset for offset in offsets if offset >= max(committed, behind)} - diverted
    history = History(source, skipped=diverted | waiting, by_request=by_request)
    findings = history.findings(diverted=diverted, committed=committed)
    assert found(findings) == []
    assert (findings.dead_letters, findings.waiting) == (len(diverted), len(waiting))
    assert findings.routed == len(offsets) - len(diverted) - len(waiting)


@pytest.mark.parametrize("key", [None, b"a"])
@pytest.mark.parametrize("by_request", [False, True])
def test_beside_a_router_at_work_whose_lanes_were_not_looked_at_in_one_moment_nothing_is_a_fault(key, by_request):
    """The router's offset is asked for first, the lanes' ends then, one after the other; all requests are alike."""
    alike = [(Request(offset, 1_000, key, b"1"), HALF) for offset in range(40)]
    for committed, stable, canary in combinations_with_replacement(range(0, 41, 2), 3):
        history = History(alike, by_request=by_request)
        for lane, end in (("stable", stable), ("canary", canary)):
            history.lanes[lane][:] = [one for one in history.lanes[lane] if one.request.offset < end]
        assert found(history.findings(committed=committed)) == []


@untimed
@given(sources(), st.data())
def test_what_retention_or_a_later_start_took_away_at_the_beginning_is_no_fault(source, data):
    """Beginnings chosen by time, as the command chooses them."""
    history = History(source)
    since = data.draw(st.integers(0, 4))
    for records in (history.source, history.lanes["stable"], history.lanes["canary"]):
        at = [r.timestamp if isinstance(r, Request) else r.request.timestamp for r in records]
        first = next((index for index, time in enumerate(at) if max(0, time) >= since), len(records))
        del records[:first]
    assert found(history.findings(since=since)) == []


@pytest.mark.parametrize("of_source", [0, 30])
@pytest.mark.parametrize("of_stable", [0, 7])
def test_what_was_deleted_at_the_beginning_is_no_fault(of_source, of_stable):
    history = History(numbered(100))
    del history.source[:of_source]
    cut = frozenset({"stable"}) if of_stable else frozenset()
    findings = history.findings(starts=(of_stable, 0), cut=cut, source_cut=of_source > 0)
    assert found(findings) == []


def test_requests_before_a_later_start_of_the_group_are_not_judged_unless_the_caller_says_so():
    history = History(numbered(100), skipped=range(40))
    findings = history.findings(whole=False)
    assert (found(findings), findings.before, findings.routed) == ([], 40, 60)
    assert history.findings(whole=True).faults == {"lost": 40}


def test_a_group_without_offsets_has_lost_what_both_lanes_have_passed():
    history = History(numbered(100), skipped={50, *range(80, 100)})
    findings = history.findings(committed=0)
    assert (found(findings), findings.waiting) == ([("lost", None, 50)], 20)


def planted():
    return History(numbered(200))


@untimed
@given(st.integers(0, 199))
def test_a_lost_request_is_found(number):
    assert found(History(numbered(200), skipped={number}).findings()) == [("lost", None, number)]


@untimed
@given(st.sampled_from(["stable", "canary"]), st.integers(0, 60), st.integers(0, 40), st.integers(1, 20))
def test_doubled_requests_are_found_wherever_the_second_ones_stand(lane, first, later, count):
    history = planted()
    records = history.lanes[lane]
    place = min(first + count + later, len(records))
    copies = records[first : min(first + count, place)]
    records[place:place] = copies
    assert found(history.findings()) == [("doubled", lane, place + n) for n in range(len(copies))]


@untimed
@given(st.integers(0, 60), st.integers(0, 60))
def test_a_request_that_is_in_both_lanes_is_found(index, place):
    history = planted()
    routed = history.lanes["canary"][index]
    history.lanes["stable"].insert(place, routed)
    kinds = history.findings().faults
    assert kinds["doubled"] == 1
    assert kinds.keys() <= {"doubled", "misrouted", "reordered"}  # where the wrong copy comes first it is the request's


def test_a_copy_in_the_wrong_lane_at_the_right_time_is_the_one_too_many():
    history = planted()
    for index, routed in enumerate(history.lanes["stable"]):
        if routed.request.offset > history.lanes["canary"][40].request.offset:
            history.lanes["stable"].insert(index, history.lanes["canary"][40])
            assert found(history.findings()) == [("doubled", "stable", index)]
            return


@untimed
@given(st.sampled_from(["stable", "canary"]), st.integers(0, 60), st.integers(1, 15))
def test_a_reordered_request_is_found(lane, index, later):
    history = planted()
    records = history.lanes[lane]
    records.insert(index + later, records.pop(index))
    assert found(history.findings()) == [("reordered", lane, index + later)]


@untimed
@given(st.integers(0, 199))
def test_a_misrouted_request_is_found(number):
    history = planted()
    for lane, other in (("stable", "canary"), ("canary", "stable")):
        for index, routed in enumerate(history.lanes[lane]):
            if routed.request.offset == number:
                del history.lanes[lane][index]
                place = sum(1 for one in history.lanes[other] if one.request.offset < number)
                history.lanes[other].insert(place, routed)
                assert found(history.findings()) == [("misrouted", other, place)]
                return


UNKNOWN = [
    replace(HALF, epoch=3),
    replace(HALF, raw=b'{"stable":0.5,"canary":0.5}'),
    replace(HALF, rollout=2),
    None,
]


@pytest.mark.parametrize("applied", UNKNOWN, ids=["epoch", "digest", "rollout", "no header"])
def test_a_split_that_is_none_of_the_routes_is_found(applied):
    history = planted()
    routed = history.lanes["canary"][9]
    routing = applied and Routing(applied.epoch, applied.digest, applied.rollout, 5)
    history.lanes["canary"][9] = routed._replace(routing=routing)
    assert found(history.findings()) == [("unknown-split", "canary", 9)]


CHANGES = [{"key": b"other"}, {"value": b"other"}, {"timestamp": 7}, {"headers": (("h", b"1"),)}]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_a_changed_request_is_found_with_what_was_changed(change):
    history = planted()
    routed = history.lanes["stable"][20]
    history.lanes["stable"][20] = routed._replace(request=routed.request._replace(**change))
    findings = history.findings()
    assert found(findings) == [("changed", "stable", 20)]
    assert f"its {next(iter(change))} is not that of request {routed.request.offset}" in findings.shown[0].why


@untimed
@given(st.sampled_from(["stable", "canary"]), st.integers(0, 60))
def test_a_record_that_is_no_request_is_found(lane, place):
    history = planted()
    foreign = Routed(Request(0, 9_999, b"nobody", b"foreign"), Routing(1, HALF.digest, 1, 5))
    history.lanes[lane].insert(place, foreign)
    assert found(history.findings()) == [("foreign", lane, place)]


def test_a_dead_letter_that_is_in_a_lane_as_well_is_doubled():
    history = planted()
    routed = history.lanes["stable"][3]
    findings = history.findings(diverted={routed.request.offset})
    assert found(findings) == [("doubled", "stable", 3)]


def test_memory_does_not_grow_with_the_topics_and_a_small_share_is_waited_for(monkeypatch):
    """Canary's one record is farther ahead than the walk looks, and stable has faults in between."""
    history = History(numbered(5_000, INITIAL_SPLIT), skipped={100, 4_999})
    last = history.source[4_999]
    tiny = Routing(HALF.epoch, HALF.digest, HALF.rollout, 5)
    history.lanes[lane_of(last, HALF)].append(Routed(last, tiny))
    history.lanes["stable"].insert(2_000, history.lanes["stable"][1_990])
    history.lanes["stable"].insert(
        3_000, Routed(Request(0, 9_999, b"nobody", b"foreign"), Routing(0, INITIAL_SPLIT.digest, 0, 5))
    )
    most = []
    read = PartitionWalk._read  # noqa: SLF001 - what memory holds is nobody else's business

    def watched(self, *arguments):
        try:
            return read(self, *arguments)
        finally:
            most.append(len(self._pending) + len(self._done))

    monkeypatch.setattr(PartitionWalk, "_read", watched)
    assert sorted(
        found(
            history.findings(reach=50),
        ),
        key=str,
    ) == sorted([("doubled", "stable", 2_000), ("foreign", "stable", 3_000), ("lost", None, 100)], key=str)
    assert max(most) <= 50 + 1_000 + 50


def test_a_fault_is_counted_also_where_it_is_not_shown_any_more():
    history = History(numbered(300), skipped=range(100, 250))
    findings = history.findings()
    assert (findings.faults["lost"], len(findings.shown)) == (150, 100)


def test_a_lane_had_a_share_from_a_time_on_if_a_split_in_force_then_gave_it_one():
    splits = KnownSplits([replace(HALF, time=100), replace(INITIAL_SPLIT, epoch=2, time=200)])
    assert [since for since in (0, 150, 199, 200, 300) if splits.gave("canary", since)] == [0, 150, 199]
    assert splits.gave("stable", 300)
    assert not KnownSplits([]).gave("canary", 0)
