"""What a person's command does: the controller's answer to it; and the rollbacks that a person writes himself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from stream_router.core.policy import Policy
from stream_router.core.rollout.conditions import needs_a_person, share
from stream_router.core.rollout.log_records import Command, Refusal, Transition, Verb
from stream_router.core.rollout.machine_inputs import Inputs
from stream_router.core.rollout.phases import Phase
from stream_router.core.rollout.rollout_event import Act, RolloutEvent, persons_rollback
from stream_router.core.rollout.rollout_state import InForce, RolloutState
from stream_router.core.routing.proposal import Step


@dataclass(frozen=True, slots=True)
class Asked:
    """A command, and what it is judged by; `now` in milliseconds since the epoch."""

    command: Command
    state: RolloutState
    law: InForce
    now: int
    inputs: Inputs

    def to(self, after: Phase, says: str, *, step: int, asks: Step | None = None) -> Transition:
        """The transition that carries it out; canary's weight stays."""
        weight, command = self.law.applied.canary, self.command
        return Transition(
            rollout=self.state.rollout,
            before=self.state.phase,
            after=after,
            step=step,
            canary_before=weight,
            canary=weight,
            cause="command",
            reason=f"{command.verb} by {command.by}: {says}" + (f" ({command.reason})" if command.reason else ""),
            epoch=self.law.applied.epoch,
            at=self.now,
            command=command.id,
            asks=asks,
        )


def answer(command: Command, state: RolloutState, law: InForce, now: int, inputs: Inputs) -> Transition | Refusal:
    """What the controller writes about the command; `now` in milliseconds since the epoch."""
    said = _outcome(Asked(command, state, law, now, inputs))
    if isinstance(said, Transition):
        return said
    return Refusal(command=command.id, rollout=state.rollout, reason=f"{command.verb}: {said}", at=now)


def rollback_by_hand(act: Act, state: RolloutState, by: str, reason: str, now: int) -> RolloutEvent | str:
    """The record that a person writes, which needs no controller; or, in words, why there is nothing to roll back.

    `state` is as of the ends of both topics; `now` in milliseconds since the epoch.
    """
    applied = state.in_force.applied
    is_running = applied.canary > 0 and applied.rollout > state.latch
    if act == "undo":
        if state.phase != "Promoted":
            return f"there is no promotion to undo, the rollout is {state.phase}: abort ends one that runs"
        if is_running and applied.rollout > state.rollout:
            return f"rollout {applied.rollout} runs since the promotion of rollout {state.rollout}: abort it first"
        return persons_rollback(act, applied, state.rollout, by, reason, now)
    running = [state.rollout] * state.is_led + [applied.rollout] * is_running
    if not running:
        undo = ": undo gives the previous version back" if state.phase == "Promoted" else ""
        return f"no rollout runs that could be aborted, it is {state.phase}{undo}"
    return persons_rollback(act, applied, max(running), by, reason, now)


def step_at(policy: Policy, weight: float) -> int:
    """The number of the last step whose weight is not above this one; 0 below the first."""
    return sum(step.weight <= weight for step in policy.steps)


def _outcome(asked: Asked) -> Transition | str:
    command, state = asked.command, asked.state
    if asked.now > command.expires_at:
        return "expired: no controller took it in time; give it again if it is still wanted"
    if command.seen < state.newest:
        meanwhile = "; ".join(words for offset, words in state.recent if offset > command.seen)
        return f"given before it was known what has happened meanwhile: {meanwhile}; look, and give it again if wanted"
    verb = _VERBS.get(command.verb)
    return f"there is no such command: expected {', '.join(_VERBS)}" if verb is None else verb(asked)


def _start(asked: Asked) -> Transition | str:
    command, state, applied = asked.command, asked.state, asked.law.applied
    if not command.version:
        return "name the model version that is to be canary's"
    if state.is_led:
        return f"rollout {state.rollout} is {state.phase}: abort it first, or let it end"
    if applied.canary > 0 and applied.rollout <= state.latch:
        return f"the rollback of rollout {applied.rollout} is still being carried out: give it again in a second"
    if applied.canary > 0:
        return f"canary has {share(applied.canary)}, set by hand: abort that, or SET its share to 0, first"
    route_policy = asked.inputs.policy
    policy = route_policy if command.policy is None else command.policy.of_route(route_policy)
    rollout = 1 + max(applied.rollout, state.latch, state.rollout)
    asks = Step(on=applied.epoch, rollout=rollout, start=command.version)
    says = f"rollout {rollout} begins with version {command.version} for canary, without requests until a job serves it"
    return replace(asked.to("Starting", says, step=0, asks=asks), rollout=rollout, policy=policy)


def _pause(asked: Asked) -> Transition | str:
    if asked.state.phase != "Progressing":
        return f"it holds a rollout that is Progressing, this one is {asked.state.phase}"
    return asked.to("Paused", f"canary stays at {share(asked.law.applied.canary)}", step=asked.state.step)


def _resume(asked: Asked) -> Transition | str:
    if asked.state.phase != "Paused":
        return f"it goes on with a rollout that is Paused, this one is {asked.state.phase}"
    return _goes_on(asked)


def _approve(asked: Asked) -> Transition | str:
    state = asked.state
    if state.phase == "Progressing" and needs_a_person(state):
        return asked.to("Progressing", f"step {state.step} is open", step=state.step)
    is_paused_for_a_person = state.cause == "step" or (state.cause == "command" and needs_a_person(state))
    if state.phase == "Paused" and is_paused_for_a_person:
        return _goes_on(asked)
    if state.phase == "Paused":
        return f"nothing waits for an approval, the rollout is Paused: {state.reason}; resume goes on with it"
    return f"it opens a step that waits for a person, this rollout is {state.phase} and at none"


def _goes_on(asked: Asked) -> Transition | str:
    """From the weight in force; from 0 as a start does, once a job of canary serves the version."""
    weight, state = asked.law.applied.canary, asked.state
    if _is_promoted(asked):
        return asked.to("Promoting", f"version {state.version} is stable's, and all becomes so", step=state.step)
    if weight >= 1:
        return "canary has all requests, so that nothing is tested: SET a share for stable first, such as 0.05"
    if weight == 0:
        return asked.to("Starting", f"version {state.version} gets requests once a job of canary serves it", step=0)
    step = step_at(state.policy or asked.inputs.policy, weight)
    return asked.to("Progressing", f"goes on from canary's {share(weight)}, at step {step}", step=step)


def _promote(asked: Asked) -> Transition | str:
    state, applied, inputs = asked.state, asked.law.applied, asked.inputs
    if state.phase not in ("Progressing", "Paused"):
        return f"it promotes a rollout that is Progressing or Paused, this one is {state.phase}"
    if inputs.unhealthy:
        return f"{', '.join(one.name for one in inputs.unhealthy)} is unhealthy, which no command overrules"
    if _is_promoted(asked):
        return _goes_on(asked)
    if applied.canary == 0:
        return "canary has no requests: resume gives it some"
    if not asked.command.full and (open_ := [*inputs.unproven(), *inputs.holds]):
        return f"{'; '.join(open_)}: wait for it, or promote in spite of it with --full"
    how = "in spite of what is not shown" if asked.command.full else "every guardrail is healthy"
    return asked.to(
        "Promoting",
        f"version {state.version} becomes stable's, {how}",
        step=state.step,
        asks=Step(on=applied.epoch, promote=True, rollout=state.rollout),
    )


def _is_promoted(asked: Asked) -> bool:
    """As after an operator's SET in the middle of a promotion."""
    return asked.law.applied.models.promoted == asked.state.rollout


_VERBS: Final[Mapping[Verb, Callable[[Asked], Transition | str]]] = {
    "start": _start,
    "pause": _pause,
    "resume": _resume,
    "approve": _approve,
    "promote": _promote,
}
