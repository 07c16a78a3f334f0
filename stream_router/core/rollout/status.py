"""The status of a rollout: what `:rollout` in Redis says, and what every view is drawn from."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from stream_router.core.deciding.fold import Summary
from stream_router.core.deciding.numbers import Numbers, Status
from stream_router.core.deciding.verdict import Verdict
from stream_router.core.moment import utc
from stream_router.core.policy import Role
from stream_router.core.rollout.phases import Phase, phase_of
from stream_router.core.rollout.rollout_event import RolloutEvent
from stream_router.core.rollout.rollout_state import RolloutState
from stream_router.core.rollout.situation import Hold, Situation
from stream_router.core.routing.control_view import ControlView
from stream_router.core.routing.split_store import SplitStore


@dataclass(frozen=True, kw_only=True)
class MetricStatus:
    """What one metric says, or a plain rule that has spoken, which has no e-value.

    Outcomes are of closed blocks: requests or micro-batches, as the sentence says. threshold: 1 divided by the metric's
    part of alpha.
    """

    name: str
    role: Role
    verdict: Status
    sentence: str
    e_value: float | None = None
    threshold: float | None = None
    stable_outcomes: int = 0
    stable_bad: int = 0
    canary_outcomes: int = 0
    canary_bad: int = 0


@dataclass(frozen=True, kw_only=True)
class TrialStatus:
    """What the test of one metric has been fed and says: of the one that speaks for all, see `overall`; `summary` is a
    sentence.

    e_value: 1 at first, unhealthy at threshold; both are None where a plain rule decided. unripe: outcomes that wait
    until their window is ripe; waiting: for the record of their split. Left out are repeats (of entities that had had
    an outcome), not_ours (of another version than the rollout's), one_sided (of a split in which a lane had no share)
    and unattributed (of a split of which no record came in time).
    """

    verdict: Status
    metric: str
    e_value: float | None
    threshold: float | None
    blocks: int
    stable_labels: int
    stable_bad: int
    canary_labels: int
    canary_bad: int
    unripe: int
    summary: str
    waiting: int = 0
    repeats: int = 0
    not_ours: int = 0
    one_sided: int = 0
    unattributed: int = 0


@dataclass(frozen=True, kw_only=True)
class RolloutStatus:
    """Durations in seconds, moments in seconds since the epoch.

    says: the phase in a sentence. step: its number, of so many `steps`; 0 where nobody leads the rollout. waits: what
    the next step waits for, a sentence each. `trial` is None before the rollout's evidence has a start record;
    `metrics` are those that are judged, then plain rules that have spoken. holds: why the rollout does not go on, a
    sentence each. limits: what each absolute limit sees.
    ripe_age: how long labels are waited for; verdict_from: when the first outcomes are old enough to be bet on.
    last_label_at: the newest label's time. remark: why nothing is judged, where nothing is. never_started: outcomes
    given up of rollouts that R.splits does not know; refused_watermarks: of monitors whose clocks are ahead of the
    broker's. written_at: when the controller wrote this, which it does every few seconds while it lives.
    """

    phase: Phase
    rollout: int
    epoch: int
    canary_weight: float
    window: float
    label_horizon: float
    alpha: float
    says: str = ""
    step: int = 0
    steps: int = 0
    waits: tuple[str, ...] = ()
    written_at: float | None = None
    ripe_age: float | None = None
    verdict_from: float | None = None
    last_label_at: float | None = None
    trial: TrialStatus | None = None
    metrics: tuple[MetricStatus, ...] = ()
    holds: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    remark: str | None = None
    never_started: int = 0
    refused_watermarks: int = 0


class StatusStore(SplitStore, Protocol):
    """The keys of a route, with the one that only the controller writes: a copy for display."""

    def write_status(self, status: RolloutStatus) -> None:
        """Replace `:rollout`. Raises UnreachableError."""

    def status(self) -> RolloutStatus | None:
        """What `:rollout` says; None where it is not there. Raises UnreachableError."""


class Led(NamedTuple):
    """The rollout as its log tells it, and what it waits for, a sentence each."""

    state: RolloutState
    waits: tuple[str, ...] = ()


def status_of(
    view: ControlView,
    at: Situation,
    holds: tuple[Hold, ...],
    rollback: RolloutEvent | None,
    led: Led | None,
    remark: str | None,
) -> RolloutStatus:
    """`rollback` is that of the rollout in force; what was decided is shown as it was decided.

    Without `led` nobody leads.
    """
    in_force, summary = view.in_force, at.summary
    phase = phase_of(view) if led is None else led.state.phase
    is_led = led is not None and led.state.is_led
    trial = None if summary is None else _trial_status(summary)
    if rollback is not None and (trial is None or trial.verdict is not Status.UNHEALTHY):
        trial = _decided(rollback)
    verdict_from = at.policy.window_start(at.since) + at.policy.window + at.ripe_age
    is_running = in_force.canary > 0 and (view.latch is None or view.latch < in_force.rollout)
    return RolloutStatus(
        phase=phase,
        rollout=in_force.rollout,
        epoch=in_force.epoch,
        canary_weight=in_force.canary,
        window=at.policy.window / 1000,
        label_horizon=at.policy.label_horizon / 1000,
        alpha=at.policy.alpha,
        says=_in_words(phase, at, verdict_from, view.latch_reason, "" if led is None else led.state.reason),
        step=led.state.step if led is not None and is_led else 0,
        steps=len(at.policy.steps) if is_led else 0,
        waits=led.waits if led is not None and is_led else (),
        written_at=at.now / 1000,
        ripe_age=at.ripe_age / 1000 if is_running else None,
        verdict_from=verdict_from / 1000 if is_running else None,
        last_label_at=None if at.last_label_at is None else at.last_label_at / 1000,
        trial=trial,
        metrics=() if summary is None else tuple(map(_metric_status, summary.verdicts)),
        holds=tuple(hold.sentence for hold in holds),
        limits=() if summary is None else summary.limits,
        remark=remark,
        never_started=at.fold.never_started,
        refused_watermarks=at.fold.refused_watermarks,
    )


def _in_words(phase: Phase, at: Situation, verdict_from: int, latch_reason: str, log_reason: str) -> str:
    canary = f"canary {at.versions.canary}" if at.versions.canary else "canary"
    if phase == "Idle":
        return "canary gets no requests"
    if phase in ("RolledBack", "Aborted"):
        return f"{canary} was rolled back and gets no requests: {latch_reason}"
    if phase in ("Starting", "Promoted"):
        return log_reason
    by_whom = "as an operator set it" if phase == "Manual" else log_reason
    share = f"{canary} gets {100 * at.in_force.canary:.3g} % of the requests, {by_whom}"
    if at.now >= verdict_from:
        return share
    return (
        f"{share}; labels are waited for {at.ripe_age / 1000:g} s, so that accuracy is judged from "
        f"{utc(verdict_from)} on"
    )


def _metric_status(verdict: Verdict) -> MetricStatus:
    numbers = verdict.numbers
    metric = MetricStatus(name=verdict.metric, role=verdict.role, verdict=verdict.status, sentence=verdict.reason)
    if numbers is None:
        return metric
    return replace(
        metric,
        e_value=numbers.e_value,
        threshold=numbers.threshold,
        stable_outcomes=numbers.stable_labels,
        stable_bad=numbers.stable_bad,
        canary_outcomes=numbers.canary_labels,
        canary_bad=numbers.canary_bad,
    )


def _trial_status(summary: Summary) -> TrialStatus:
    verdict = summary.verdict
    return TrialStatus(
        verdict=verdict.status,
        metric=verdict.metric,
        **_numbers(verdict.numbers),
        unripe=summary.unripe,
        summary=verdict.reason,
        waiting=summary.waiting,
        **summary.left_out,
    )


def _decided(rollback: RolloutEvent) -> TrialStatus | None:
    """None of a rollback that no verdict has decided, such as a person's."""
    if rollback.verdict not in set(Status):
        return None
    return TrialStatus(
        verdict=Status(rollback.verdict),
        metric=rollback.metric or "",
        **_numbers(rollback.numbers),
        unripe=0,
        summary=rollback.reason,
    )


def _numbers(numbers: Numbers | None) -> dict[str, Any]:
    if numbers is None:
        counts = dict.fromkeys(("blocks", "stable_labels", "stable_bad", "canary_labels", "canary_bad"), 0)
        return {"e_value": None, "threshold": None, **counts}
    names = ("e_value", "threshold", "blocks", "stable_labels", "stable_bad", "canary_labels", "canary_bad")
    return {name: getattr(numbers, name) for name in names}
