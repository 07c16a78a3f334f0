"""A rollout for people and for scripts: what was done, where it stands, what has happened."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from stream_router.core.moment import utc
from stream_router.core.rollout.log_records import Refusal, Transition
from stream_router.core.rollout.rollout_event import RolloutEvent
from stream_router.core.rollout.rollout_state import RolloutState
from stream_router.core.rollout.status import RolloutStatus
from stream_router.core.routing.applied_split import AppliedSplit

VERSION: Final = 1
"""Of the documents: raised when a field changes its meaning."""


@dataclass(frozen=True, slots=True)
class Said:
    """The same for people, in lines, and for scripts; times in milliseconds since 1970."""

    lines: tuple[str, ...]
    document: dict[str, Any]


def transition(done: Transition) -> Said:
    """What a command has brought about."""
    said = f"rollout {done.rollout} is {done.after}: {done.reason}"
    return Said((said,), {"version": VERSION, **_record(done)})


def rolled_back(event: RolloutEvent, obeyed: AppliedSplit | None) -> Said:
    """A rollback by hand; `obeyed` is the split by which a router has told that it obeys."""
    told = (
        f"canary gets no requests since epoch {obeyed.epoch}"
        if obeyed is not None
        else "no router has told yet that it obeys: each does as soon as it reads the record"
    )
    lines = (f"rollout {event.rollout} is rolled back: {event.reason}", told)
    return Said(lines, {"version": VERSION, **_record(event), "epoch": None if obeyed is None else obeyed.epoch})


def standing(state: RolloutState, shown: RolloutStatus | None) -> Said:
    """Where the rollout stands by its log, and what the controller shows of it beside."""
    applied = state.in_force.applied
    is_same = shown is not None and shown.rollout == state.rollout
    waits, holds = (shown.waits, shown.holds) if shown is not None and is_same else ((), ())
    steps = len(state.policy.steps) if state.policy else 0
    document = {
        "version": VERSION,
        "rollout": state.rollout,
        "phase": state.phase,
        "step": state.step,
        "steps": steps,
        "model_version": state.version,
        "canary_weight": applied.canary,
        "epoch": applied.epoch,
        "reason": state.reason,
        "at": state.at,
        "waits": list(waits),
        "holds": list(holds),
    }
    return Said(
        tuple(_standing(state, steps, applied, (*waits, *(hold for hold in holds if hold not in waits)))), document
    )


def history(changes: Iterable[tuple[int, Transition | Refusal | RolloutEvent]]) -> Said:
    """What has happened, in order; each with the offset of its record."""
    told = list(changes)
    lines = tuple(f"{utc(_at(record))}  {_in_words(record)}" for _, record in told)
    documents: Sequence[dict[str, Any]] = [{"offset": offset, **_record(record)} for offset, record in told]
    return Said(lines or ("nothing has happened yet",), {"version": VERSION, "changes": documents})


def _standing(state: RolloutState, steps: int, applied: AppliedSplit, waits: Sequence[str]) -> Iterator[str]:
    number = f"rollout {state.rollout} is " if state.rollout else ""
    step = f", step {state.step} of {steps}" if state.is_led and state.step else ""
    yield f"{number}{state.phase}{step}: canary gets {100 * applied.canary:.4g} % (epoch {applied.epoch})"
    if state.reason:
        yield f"since {utc(state.at)}: {state.reason}"
    yield from (f"waits: {sentence}" for sentence in waits)


def _in_words(record: Transition | Refusal | RolloutEvent) -> str:
    if isinstance(record, Refusal):
        return f"refused: {record.reason}"
    if isinstance(record, RolloutEvent):
        return f"rollout {record.rollout} rolled back: {record.reason}"
    return f"rollout {record.rollout} {record.before} -> {record.after}: {record.reason}"


def _at(record: Transition | Refusal | RolloutEvent) -> int:
    return record.decided_at if isinstance(record, RolloutEvent) else record.at


def _record(record: Transition | Refusal | RolloutEvent) -> dict[str, Any]:
    if isinstance(record, Refusal):
        return {"kind": "refusal", **asdict(record)}
    if isinstance(record, RolloutEvent):
        names = ("kind", "rollout", "verdict", "reason", "decided_at", "metric")
        return {name: getattr(record, name) for name in names}
    fields = asdict(record)
    policy = record.policy
    return {"kind": "transition", **fields, "policy": None if policy is None else policy.digest}
