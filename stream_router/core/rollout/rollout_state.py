"""Where a rollout stands: a fold of R.rollout-events and of R.splits.

Each topic is folded in its own order, and neither fold looks at the other: whoever has read both, however they were
interleaved, has the same state.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from stream_router.core.policy import Policy
from stream_router.core.rollout.log_records import Cause, Command, LogRecord, Refusal, Transition
from stream_router.core.rollout.phases import LED, Phase
from stream_router.core.rollout.rollout_event import ROLLBACK, RolloutEvent
from stream_router.core.routing.applied_split import INITIAL_SPLIT, AppliedSplit
from stream_router.core.routing.proposal import Step

_RECENT: Final = 10
"""The newest changes that are remembered in words, for who has missed them."""


@dataclass(frozen=True, slots=True)
class InForce:
    """The newest split that the script put in force: what a router declares by itself is none.

    origin: the epoch at which its document came into force; it may have been put there anew since, as when Redis had
    forgotten it. since: when canary's weight in this rollout came into force, in milliseconds since the epoch.
    """

    applied: AppliedSplit = INITIAL_SPLIT
    origin: int = 0
    since: int = 0

    def then(self, applied: AppliedSplit) -> "InForce":
        """After a record of R.splits, or what `:applied` says."""
        before = self.applied
        if not applied.registered or applied.epoch < before.epoch or applied == before:
            return self
        is_same = applied.is_same_anew and (applied.raw, applied.rollout) == (before.raw, before.rollout)
        is_weight_kept = (applied.canary, applied.rollout) == (before.canary, before.rollout)
        return InForce(
            applied=applied,
            origin=self.origin if is_same else applied.epoch,
            since=self.since if is_weight_kept else applied.time,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutState:
    """Times in milliseconds since the epoch.

    rollout: the one that the phase is about. step: number of the step, from 1; 0 before the first. canary: its weight
    as it is to be. asks: what is asked of the script. epoch: the one in force when the phase or step was decided.
    version, policy: of a rollout that was started. cause, reason, at: of the newest change. began_at: when the first
    step was decided. approved: whether a person has opened the step. is_told: whether it was told that labels or time
    are used up. latch: the highest rollout that was rolled back. newest: offset of the newest transition or rollback.
    recent: the newest ones, with their offsets, in words. open: commands without an answer, in order. answered: their
    ids, of the others.
    """

    phase: Phase = "Idle"
    rollout: int = 0
    step: int = 0
    canary: float = 0.0
    asks: Step | None = None
    epoch: int = 0
    version: str | None = None
    policy: Policy | None = None
    cause: Cause | None = None
    reason: str = ""
    at: int = 0
    began_at: int | None = None
    approved: bool = False
    is_told: bool = False
    latch: int = 0
    newest: int = -1
    recent: tuple[tuple[int, str], ...] = ()
    open: tuple[Command, ...] = ()
    answered: frozenset[str] = frozenset()
    in_force: InForce = field(default_factory=InForce)

    @property
    def is_led(self) -> bool:
        return self.phase in LED

    def is_taken(self, law: InForce) -> bool:
        """Whether the script has done what it is asked for; a step that an operator's SET has replaced is none."""
        asks, applied = self.asks, law.applied
        if asks is None:
            return True
        if applied.epoch <= asks.on or applied.rollout != self.rollout:
            return False
        if asks.start is not None:
            return applied.bound.canary == asks.start
        return applied.models.promoted == self.rollout if asks.promote else applied.raw == asks.raw

    def is_as_meant(self, law: InForce) -> bool:
        """Of what is taken: whether no operator has set another split since."""
        is_older = self.asks is not None or law.origin <= self.epoch
        return is_older and law.applied.canary == self.canary

    def after_split(self, applied: AppliedSplit) -> "RolloutState":
        """After a record of R.splits."""
        return replace(self, in_force=self.in_force.then(applied))

    def after_record(self, offset: int, record: LogRecord) -> "RolloutState":
        """After a record of R.rollout-events."""
        match record:
            case Command():
                known = {*self.answered, *(command.id for command in self.open)}
                return self if record.id in known else replace(self, open=(*self.open, record))
            case Refusal():
                return _answered(self, record.command)
            case Transition():
                # One of a rollout that was rolled back comes too late: the rollback has ended it.
                moved = _moved(self, record) if record.rollout > self.latch else self
                return _answered(_told(moved, offset, record.reason), record.command)
            case RolloutEvent():
                is_news = record.kind == ROLLBACK and record.rollout > self.latch
                return _told(_rolled_back(self, record), offset, record.reason) if is_news else self


def _moved(state: RolloutState, record: Transition) -> RolloutState:
    verb = next((one.verb for one in state.open if one.id == record.command), None)
    is_start = record.policy is not None
    is_same_step = not is_start and (record.rollout, record.step) == (state.rollout, state.step)
    opens = verb == "approve" or (verb == "resume" and state.cause == "step")
    is_kept = record.after in (*LED, "Promoted")
    began_at = None if is_start else state.began_at
    version = record.asks.start if record.asks and record.asks.start else state.version
    return replace(
        state,
        phase=record.after,
        rollout=record.rollout,
        step=record.step,
        canary=record.canary,
        asks=record.asks,
        epoch=record.epoch,
        version=version if is_kept else None,
        policy=(record.policy or state.policy) if is_kept else None,
        cause=record.cause,
        reason=record.reason,
        at=record.at,
        began_at=record.at if began_at is None and record.after == "Progressing" else began_at,
        approved=opens or (state.approved and is_same_step),
        is_told=not is_start and (state.is_told or record.cause == "limit"),
    )


def _rolled_back(state: RolloutState, record: RolloutEvent) -> RolloutState:
    latched = replace(state, latch=record.rollout)
    if record.rollout < state.rollout:
        return latched
    return replace(
        latched,
        phase="Aborted" if record.verdict == "abort" else "RolledBack",
        rollout=record.rollout,
        canary=0.0,
        asks=None,
        epoch=record.epoch,
        cause="rollback",
        reason=record.reason,
        at=record.decided_at,
    )


def _told(state: RolloutState, offset: int, reason: str) -> RolloutState:
    return replace(state, newest=offset, recent=(*state.recent, (offset, reason))[-_RECENT:])


def _answered(state: RolloutState, command: str | None) -> RolloutState:
    if command is None:
        return state
    left = tuple(one for one in state.open if one.id != command)
    return replace(state, open=left, answered=state.answered | {command})
