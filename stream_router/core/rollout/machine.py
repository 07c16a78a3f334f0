"""What the controller does next about a rollout: one record to write, or one call of the script, or nothing.

The record comes first: nothing is asked of the script but what the newest transition in R.rollout-events names, and it
is asked for until R.splits or `:applied` shows it. So whoever takes over, after whatever crash, goes on from the fold
of the log; and as the script compares the epoch on which a step was decided, none is taken twice.
"""

from dataclasses import dataclass, replace

from stream_router.core.policy import Policy
from stream_router.core.rollout.conditions import share, waits_for, waits_for_a_pause
from stream_router.core.rollout.log_records import Cause, Refusal, Transition
from stream_router.core.rollout.machine_inputs import Inputs
from stream_router.core.rollout.phases import Phase
from stream_router.core.rollout.rollout_state import InForce, RolloutState
from stream_router.core.rollout.verbs import answer
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.proposal import Step


@dataclass(frozen=True, slots=True)
class Write:
    """Append the record to R.rollout-events. Decide again once it was read back, and not before."""

    record: Transition | Refusal


@dataclass(frozen=True, slots=True)
class Call:
    """Call the script with the step; where it is refused, once more without, so that a pending edit is judged."""

    step: Step


def decide(state: RolloutState, now: int, inputs: Inputs) -> Write | Call | None:
    """`state` is as of the ends of both topics; `now` in milliseconds since the epoch."""
    turn = _Turn(state, law_of(state, inputs), now, inputs)
    record, asks = _record(turn), state.asks
    if record is not None:
        return Write(record)
    if asks is None or state.is_taken(turn.law) or turn.applied.epoch > asks.on:
        return None
    return Call(asks)


def law_of(state: RolloutState, inputs: Inputs) -> InForce:
    """The split in force as far as anybody knows."""
    return state.in_force if inputs.applied is None else state.in_force.then(inputs.applied)


@dataclass(frozen=True, slots=True)
class _Turn:
    state: RolloutState
    law: InForce
    now: int
    inputs: Inputs

    @property
    def applied(self) -> AppliedSplit:
        return self.law.applied

    @property
    def policy(self) -> Policy:
        return self.state.policy or self.inputs.policy

    @property
    def is_behind(self) -> bool:
        """Whether more is in force than was read: no router has written it yet, and Redis does not answer."""
        return self.inputs.applied is None and self.applied.epoch < self.state.epoch

    @property
    def runs(self) -> bool:
        """Whether canary has a share that no rollback takes away."""
        return self.applied.canary > 0 and self.applied.rollout > self.state.latch

    def to(self, after: Phase, cause: Cause, reason: str, *, step: int = 0, rollout: int | None = None) -> Transition:
        """Canary's weight stays as it is in force."""
        return Transition(
            rollout=self.state.rollout if rollout is None else rollout,
            before=self.state.phase,
            after=after,
            step=step,
            canary_before=self.applied.canary,
            canary=self.applied.canary,
            cause=cause,
            reason=reason,
            epoch=self.applied.epoch,
            at=self.now,
        )

    def moving(self, transition: Transition, canary: float) -> Transition:
        """The same, with another weight for canary, for which the script is asked."""
        asks = Step(on=self.applied.epoch, canary=canary, rollout=self.state.rollout)
        return replace(transition, canary=canary, asks=asks)

    def promoting(self, transition: Transition) -> Transition:
        """The same, with a promotion, for which the script is asked."""
        return replace(transition, asks=Step(on=self.applied.epoch, promote=True, rollout=self.state.rollout))


def _record(turn: _Turn) -> Transition | Refusal | None:
    state = turn.state
    if state.is_led and (moved := _follow_the_split(turn)):
        return moved
    if state.open:
        return answer(state.open[0], state, turn.law, turn.now, turn.inputs)
    if not state.is_led:
        return _follow_an_operator(turn)
    return _go_on(turn) if state.is_taken(turn.law) and not turn.is_behind else None


def _follow_an_operator(turn: _Turn) -> Transition | None:
    """While nobody leads: what R.splits says."""
    state, applied = turn.state, turn.applied
    if turn.is_behind:
        return None
    if turn.runs and (state.phase, state.rollout) != ("Manual", applied.rollout):
        says = f"canary has {share(applied.canary)}, set by hand: rollout {applied.rollout}"
        return turn.to("Manual", "split", says, rollout=applied.rollout)
    if state.phase == "Manual" and applied.canary == 0:
        return turn.to("Idle", "split", "canary has no share any more")
    return None


def _follow_the_split(turn: _Turn) -> Transition | None:
    """What is in force by another's doing than the machine's."""
    state, law, applied, asks = turn.state, turn.law, turn.applied, turn.state.asks
    if turn.is_behind:
        return None
    starts = asks is not None and asks.start is not None and not state.is_taken(law)
    if applied.rollout != state.rollout and not starts:
        return _hand_over(turn)
    if asks is None or state.is_taken(law):
        return None if state.phase == "Paused" or state.is_as_meant(law) else _set_by_hand(turn)
    if applied.epoch > asks.on and law.origin <= asks.on:
        says = (
            f"epoch {asks.on} is in force again as epoch {applied.epoch}, and is asked anew for what it was asked for"
        )
        again = turn.to(state.phase, "split", says, step=state.step)
        policy = state.policy if starts else None
        return replace(again, canary=state.canary, asks=replace(asks, on=applied.epoch), policy=policy)
    if applied.epoch == asks.on:
        return None
    return _hand_over(turn) if starts else _set_by_hand(turn)


def _hand_over(turn: _Turn) -> Transition | None:
    """To an operator: another rollout is in force than the one that is led, or was to begin."""
    state, applied = turn.state, turn.applied
    why = f"rollout {state.rollout} is led no more: rollout {applied.rollout} is in force, by another's doing"
    if turn.runs:
        says = f"{why}, with {share(applied.canary)} for canary; a start hands it back to the controller"
        return turn.to("Manual", "split", says, rollout=applied.rollout)
    if applied.canary > 0:
        return None  # a rollback that is still to be carried out
    return turn.to("Idle", "split", why, rollout=max(state.rollout, applied.rollout))


def _set_by_hand(turn: _Turn) -> Transition:
    """Obeyed; and the rollout pauses, unless that ends a promotion."""
    state, applied, asks = turn.state, turn.applied, turn.state.asks
    if state.phase == "Promoting" and applied.models.promoted == state.rollout and applied.canary == 0:
        says = f"an operator gave all requests to stable, whose version is {state.version}"
        return turn.to("Promoted", "split", says, step=state.step)
    is_unknown = applied.is_same_anew and turn.law.origin == applied.epoch
    if is_unknown or applied.epoch < max(state.epoch, asks.on if asks is not None else 0):
        says = f"Redis has forgotten a split that no router had written: canary has {share(applied.canary)}"
    elif applied.canary >= 1:
        says = (
            "AN OPERATOR GAVE ALL REQUESTS TO CANARY: with no answers of stable at the same time nothing is tested, "
            'and only absolute limits act; SET {"stable": 0.05, "canary": 0.95} and resume'
        )
    else:
        says = f"an operator set canary to {share(applied.canary)}: resume goes on from there"
    return turn.to("Paused", "split", says, step=state.step)


def _go_on(turn: _Turn) -> Transition | None:
    """What was asked of the script is in force."""
    state, inputs = turn.state, turn.inputs
    if inputs.unhealthy:
        return None  # its rollback is being written
    if state.phase == "Promoting":
        return _finish(turn)
    if state.phase == "Paused":
        return None
    is_waiting = bool(waits_for(state, turn.law, turn.now, inputs))
    return _paused(turn) or (None if is_waiting else _next_step(turn))


def _paused(turn: _Turn) -> Transition | None:
    """A rollout that starts or progresses, where it has to pause."""
    state, inputs = turn.state, turn.inputs
    if job := inputs.failed_job(state.version, turn.now):
        says = f"scoring job {job.instance} cannot serve version {state.version}: {job.error or 'see its log'}"
        return turn.to("Paused", "job", says, step=state.step)
    if state.phase == "Starting":
        return None
    if waits_for_a_pause(state, turn.law, turn.now, inputs):
        return turn.to("Paused", "step", f"step {state.step} is done and pauses: approve goes on", step=state.step)
    return _undecided(turn)


def _next_step(turn: _Turn) -> Transition:
    state, steps, labels = turn.state, turn.policy.steps, turn.inputs.labels
    if state.phase == "Progressing" and state.step >= len(steps):
        says = f"every guardrail is healthy after {labels:,} mature labels: version {state.version} becomes stable's"
        return turn.promoting(turn.to("Promoting", "step", says, step=state.step))
    number, weight = state.step + 1, steps[state.step].weight
    because = (
        f"a job of canary serves version {state.version}"
        if state.phase == "Starting"
        else f"{labels:,} mature labels of canary at {share(turn.applied.canary)}, and nothing holds it"
    )
    says = f"step {number} of {len(steps)}, canary gets {share(weight)}: {because}"
    return turn.moving(turn.to("Progressing", "step", says, step=number), weight)


def _undecided(turn: _Turn) -> Transition | None:
    """Labels or time are used up: told once a rollout, so that a person who resumes it is obeyed."""
    state, policy = turn.state, turn.policy
    if state.is_told or not any(turn.inputs.unproven()):
        return None
    lasted = 0 if state.began_at is None else turn.now - state.began_at
    if turn.inputs.max_labels_reached:
        why = f"no verdict within {policy.max_labels:,} labels of canary"
    elif policy.max_duration is not None and lasted >= policy.max_duration:
        why = f"no verdict within {policy.max_duration / 1000:g} s"
    else:
        return None
    if policy.on_inconclusive == "pause":
        return turn.to("Paused", "limit", f"{why}: a person has to decide", step=state.step)
    says = f"{why}: canary goes back to 0, and a person has to decide"
    return turn.moving(turn.to("Paused", "limit", says, step=state.step), 0.0)


def _finish(turn: _Turn) -> Transition | None:
    """Of a promotion: every live job of stable serves the version, then all is stable's."""
    state, applied = turn.state, turn.applied
    if applied.models.promoted != state.rollout:
        says = f"version {state.version} is stable's no more, since Redis has forgotten it: it is promoted again"
        return turn.promoting(turn.to("Promoting", "split", says, step=state.step)) if applied.canary > 0 else None
    if applied.canary == 0:
        says = f"all requests are stable's, with version {state.version}; undo gives {applied.models.previous} back"
        return turn.to("Promoted", "step", says, step=state.step)
    if waits_for(state, turn.law, turn.now, turn.inputs):
        return None
    jobs = len(turn.inputs.live_jobs("stable", turn.now))
    says = f"{jobs} of {jobs} live jobs of stable serve version {state.version}: all requests become stable's"
    return turn.moving(turn.to("Promoting", "job", says, step=state.step), 0.0)
