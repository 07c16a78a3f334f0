"""What an audit has found, for people and for scripts."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from stream_router.core.route import Route
from stream_router.core.routing.audit import FAULTS, Fault, Findings


def document(findings: Findings, route: Route, since: int | None) -> dict[str, Any]:
    """For `--output json`: every kind of fault with its count, and the first of each. Times in milliseconds."""
    return {
        "route": route.name,
        "since": since,
        "judged_from": findings.judged_from,
        "clean": findings.clean,
        "requests": findings.requests,
        "routed": findings.routed,
        "dead_letters": findings.dead_letters,
        "waiting": findings.waiting,
        "before": findings.before,
        "faults": {kind: findings.faults[kind] for kind in FAULTS},
        "shown": [_fault(fault, route) for fault in findings.shown],
    }


def lines(findings: Findings, route: Route, since: int | None, most: int) -> Iterator[str]:
    """For people, with at most so many faults one by one."""
    yield (
        f"{findings.requests:,} requests of route {route.name}: {findings.routed:,} in a lane, "
        f"{findings.dead_letters:,} dead letters"
    )
    if findings.waiting:
        yield f"{findings.waiting:,} more are not routed yet"
    if findings.before:
        remedy = "; --since TIME judges those from TIME on" if since is None else ": what a lane had of them is deleted"
        yield f"{findings.before:,} before the first routed ones are not judged{remedy}"
    if findings.judged_from > (since or 0):
        begin = datetime.fromtimestamp(findings.judged_from / 1000, UTC).isoformat(timespec="seconds")
        yield f"only those from {begin} on: in one of the topics what is older has been deleted"
    if findings.clean:
        yield "each is in the lane that its split gives it, once and in order"
        return
    for kind, meaning in FAULTS.items():
        if count := findings.faults[kind]:
            yield f"{kind:14}{count:>9,}  {meaning}"
    yield ""
    yield f"{'what':14}{'topic, partition, offset':44}{'key':20}why"
    for fault in findings.shown[:most]:
        shown = _fault(fault, route)
        place = f"{shown['topic']} {shown['partition']} {shown['offset']}"
        yield f"{fault.kind:14}{place:44}{shown['key'] if fault.key is not None else '(none)':20}{fault.why}"
    if (left := findings.faults.total() - min(most, len(findings.shown))) > 0:
        yield f"and {left:,} more"


def _fault(fault: Fault, route: Route) -> dict[str, Any]:
    lane, partition, offset = fault.place
    return {
        "kind": fault.kind,
        "topic": route.topic("requests") if lane is None else route.lane_topic(lane),
        "partition": partition,
        "offset": offset,
        "key": None if fault.key is None else fault.key.decode(errors="backslashreplace"),
        "why": fault.why,
    }
