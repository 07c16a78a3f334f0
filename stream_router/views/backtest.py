"""What another policy would have decided, beside what was decided, for people and for scripts."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from stream_router.core.deciding.backtest import Fell, changes
from stream_router.core.deciding.verdict import Verdict
from stream_router.core.moment import utc
from stream_router.core.policy import Policy
from stream_router.core.rollout.rollout_event import ROLLBACK, RolloutEvent

VERSION: Final = 1
"""Of the document: raised when a field changes its meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One rollout. decided: what was recorded; fell: what the other policy finds; standing: as of the end, one a
    metric. started_at: of the start record, milliseconds since 1970.
    """

    rollout: int
    started_at: int
    recorded: Policy
    other: Policy
    decided: tuple[RolloutEvent, ...]
    fell: tuple[Fell, ...]
    standing: tuple[Verdict, ...]

    @property
    def names(self) -> list[tuple[str, str]]:
        """Metric and status of each verdict by either policy."""
        by_log = [(event.metric or "", event.verdict) for event in self.decided]
        return list(dict.fromkeys([*by_log, *((one.verdict.metric, one.verdict.status.value) for one in self.fell)]))

    def minutes(self, at: int) -> float:
        """After the start."""
        return (at - self.started_at) / 60_000

    def was(self, name: tuple[str, str]) -> RolloutEvent | None:
        return next((event for event in self.decided if (event.metric, event.verdict) == name), None)

    def would_be(self, name: tuple[str, str]) -> Fell | None:
        return next((one for one in self.fell if (one.verdict.metric, one.verdict.status.value) == name), None)


def document(route: str, tried: Sequence[Tried]) -> dict[str, Any]:
    """For `--output json`. Times in milliseconds since 1970, those of policies in milliseconds."""
    return {"version": VERSION, "route": route, "rollouts": [_rollout(one) for one in tried]}


def _rollout(one: Tried) -> dict[str, Any]:
    return {
        "rollout": one.rollout,
        "started_at": one.started_at,
        "policy": {"recorded": one.recorded.digest, "other": one.other.digest},
        "changes": [
            {"name": name, "recorded": was, "other": becomes} for name, was, becomes in changes(one.recorded, one.other)
        ],
        "verdicts": [
            {"metric": name[0], "verdict": name[1], "decided": _event(one, name), "would_decide": _fell(one, name)}
            for name in one.names
        ],
        "standing": [asdict(verdict) for verdict in one.standing],
    }


def _event(one: Tried, name: tuple[str, str]) -> dict[str, Any] | None:
    event = one.was(name)
    if event is None:
        return None
    at = event.decided_at
    return {"offset": event.evidence_offset, "at": at, "minutes": one.minutes(at), "reason": event.reason}


def _fell(one: Tried, name: tuple[str, str]) -> dict[str, Any] | None:
    found = one.would_be(name)
    if found is None:
        return None
    verdict = found.verdict
    return {
        "offset": verdict.offset,
        "at": found.at,
        "minutes": one.minutes(found.at),
        "role": verdict.role,
        "rolls_back": verdict.rolls_back,
        "reason": verdict.reason,
    }


def lines(route: str, tried: Sequence[Tried]) -> Iterator[str]:
    """For people."""
    if not tried:
        yield f"no rollout of route {route} began then"
    for place, one in enumerate(tried):
        if place:
            yield ""
        yield f"rollout {one.rollout} of route {route}, started {utc(one.started_at)}"
        different = list(changes(one.recorded, one.other))
        for name, was, becomes in different:
            yield f"  {name}: {becomes} instead of {was}"
        if not different:
            yield "  the policy is the one that it was judged by"
        for verdict in one.names:
            yield f"  {' '.join(verdict)}"
            yield f"    decided: {_when_decided(one, verdict)}"
            yield f"    would decide: {_when_it_would(one, verdict)}"
        if not one.names:
            yield "  neither policy decides anything on this evidence"
        if any(event.verdict == "unhealthy" for event in one.decided if event.kind == ROLLBACK or _rolls(event)):
            yield "  canary lost its share with the rollback: what evidence came later is of earlier requests"


def _rolls(event: RolloutEvent) -> bool:
    return event.role == "guardrail"


def _when_decided(one: Tried, name: tuple[str, str]) -> str:
    event = one.was(name)
    if event is None:
        return "never"
    return _when(one, event.evidence_offset, event.decided_at)


def _when_it_would(one: Tried, name: tuple[str, str]) -> str:
    found = one.would_be(name)
    if found is not None:
        return f"{_when(one, found.verdict.offset, found.at)}: {found.verdict.reason}"
    standing = next((verdict for verdict in one.standing if verdict.metric == name[0]), None)
    return f"never; {standing.reason}" if standing else "never"


def _when(one: Tried, offset: int | None, at: int) -> str:
    return f"offset {offset}, {utc(at)}, {one.minutes(at):.1f} minutes after the start"
