"""What a rollout waits for before it goes on: a sentence each, and none where it goes on."""

from collections.abc import Iterator

from stream_router.core.policy import Policy
from stream_router.core.rollout.machine_inputs import Inputs
from stream_router.core.rollout.rollout_state import InForce, RolloutState


def waits_for(state: RolloutState, law: InForce, now: int, inputs: Inputs) -> tuple[str, ...]:
    """`now` in milliseconds since the epoch; `law` is what is in force as far as anybody knows."""
    if not state.is_taken(law):
        why = "Redis does not answer" if inputs.applied is None else inputs.refused or "it is asked"
        return (f"the script has not done yet what the rollout needs: {why}",)
    match state.phase:
        case "Starting":
            return tuple(_starting(state, now, inputs))
        case "Progressing":
            return (*_progressing(state, law, now, inputs), *_person(state))
        case "Paused":
            return (f"a person has to go on with it: {state.reason}",)
        case "Promoting" if state.canary > 0:
            return tuple(_promoting(state, now, inputs))
    return ()


def waits_for_a_pause(state: RolloutState, law: InForce, now: int, inputs: Inputs) -> bool:
    """Whether the step is to pause and everything else that it asks for is so."""
    steps = (state.policy or inputs.policy).steps
    pauses = state.step > 0 and steps[state.step - 1].pause
    return pauses and not state.approved and not any(_progressing(state, law, now, inputs))


def needs_a_person(state: RolloutState) -> bool:
    """Whether the step waits for one."""
    step = state.policy.steps[state.step - 1] if state.policy and state.step > 0 else None
    return step is not None and (step.pause or step.until == "approved") and not state.approved


def share(weight: float) -> str:
    return f"{100 * weight:.4g} %"


def _starting(state: RolloutState, now: int, inputs: Inputs) -> Iterator[str]:
    yield from inputs.holds
    serving = [job for job in inputs.live_jobs("canary", now) if job.state == "serving"]
    if not any(job.version == state.version for job in serving):
        others = ", ".join(sorted(f"{job.instance} serves {job.version}" for job in serving)) or "none lives"
        yield f"no scoring job of canary serves version {state.version} yet ({others})"
    if not inputs.routers_obey:
        yield "a router does not route by the split in force yet"


def _progressing(state: RolloutState, law: InForce, now: int, inputs: Inputs) -> Iterator[str]:
    yield from inputs.holds
    if not inputs.routers_obey:
        yield "a router does not route by the split in force yet"
    policy = state.policy or inputs.policy
    if state.step == 0:
        return
    step = policy.steps[state.step - 1]
    if (left := law.since + step.hold_for - now) > 0:
        yield f"{share(law.applied.canary)} is held for another {left / 1000:.0f} s of {step.hold_for / 1000:g} s"
    if inputs.labels < step.min_labels:
        yield f"{inputs.labels:,} of {step.min_labels:,} mature labels of canary at {share(law.applied.canary)}"
    if step.until == "healthy" or state.step == len(policy.steps):
        yield from inputs.unproven()


def _person(state: RolloutState) -> Iterator[str]:
    if needs_a_person(state):
        yield f"step {state.step} waits for a person's approval"


def _promoting(state: RolloutState, now: int, inputs: Inputs) -> Iterator[str]:
    policy: Policy = state.policy or inputs.policy
    jobs = inputs.live_jobs("stable", now)
    lagging = [job for job in jobs if job.version != state.version or job.state != "serving"]
    is_late = now - state.at > policy.promotion_deadline
    late = f", although it has had {policy.promotion_deadline / 1000:g} s" if is_late else ""
    if not jobs:
        yield f"no scoring job of stable lives that could serve version {state.version}{late}"
    for job in lagging:
        failed = f": {job.error}" if job.error else ""
        yield f"scoring job {job.instance} of stable does not serve version {state.version} yet{late}{failed}"
