"""The status of a rollout: what `:rollout` in Redis says, and what every view is drawn from."""

from dataclasses import dataclass
from typing import Any, Protocol

from stream_router.core.deciding.fold import EvidenceFold, Summary
from stream_router.core.deciding.numbers import Numbers, Status
from stream_router.core.policy import Policy
from stream_router.core.rollout.phases import Phase, phase_of
from stream_router.core.rollout.rollout_event import RolloutEvent
from stream_router.core.routing.control_view import ControlView
from stream_router.core.routing.split_store import SplitStore


@dataclass(frozen=True, kw_only=True)
class TrialStatus:
    """What the test has been fed and says; `summary` is a sentence.

    e_value: 1 at first, unhealthy at threshold = 1 / alpha. unripe: outcomes that wait until their window is ripe;
    waiting: for the record of their split. Left out are repeats (of entities that had had an outcome), not_ours (of
    another version than the rollout's), one_sided (of a split in which a lane had no share) and unattributed (of a
    split of which no record came in time).
    """

    verdict: Status
    metric: str
    e_value: float
    threshold: float
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
    """`trial` is None before the rollout's evidence has a start record; window and label_horizon in milliseconds.

    remark: why nothing is judged, where nothing is. never_started: outcomes given up of rollouts that R.splits does not
    know; refused_watermarks: of monitors whose clocks are ahead of the broker's.
    """

    phase: Phase
    rollout: int
    epoch: int
    canary_weight: float
    window: int
    label_horizon: int
    alpha: float
    trial: TrialStatus | None = None
    remark: str | None = None
    never_started: int = 0
    refused_watermarks: int = 0


class StatusStore(SplitStore, Protocol):
    """The keys of a route, with the one that only the controller writes: a copy for display."""

    def write_status(self, status: RolloutStatus) -> None:
        """Replace `:rollout`. Raises UnreachableError."""

    def status(self) -> RolloutStatus | None:
        """What `:rollout` says; None where it is not there. Raises UnreachableError."""


def status_of(
    view: ControlView,
    policy: Policy,
    fold: EvidenceFold,
    summary: Summary | None,
    rollback: RolloutEvent | None,
    remark: str | None,
) -> RolloutStatus:
    """`summary` and `rollback` are those of the rollout in force; what was decided is shown as it was decided."""
    in_force = view.in_force
    trial = None if summary is None else _trial_status(summary)
    if rollback is not None and (trial is None or trial.verdict is not Status.UNHEALTHY):
        trial = _decided(rollback)
    return RolloutStatus(
        phase=phase_of(view),
        rollout=in_force.rollout,
        epoch=in_force.epoch,
        canary_weight=in_force.canary,
        window=policy.window,
        label_horizon=policy.label_horizon,
        alpha=policy.alpha,
        trial=trial,
        remark=remark,
        never_started=fold.never_started,
        refused_watermarks=fold.refused_watermarks,
    )


def _trial_status(summary: Summary) -> TrialStatus | None:
    verdict = summary.verdict
    numbers = verdict.numbers or next((one.numbers for one in summary.verdicts if one.numbers), None)
    if numbers is None:
        return None
    return TrialStatus(
        verdict=verdict.status,
        metric=verdict.metric,
        **_numbers(numbers),
        unripe=summary.unripe,
        summary=verdict.reason,
        waiting=summary.waiting,
        **summary.left_out,
    )


def _decided(rollback: RolloutEvent) -> TrialStatus | None:
    if rollback.numbers is None:
        return None
    return TrialStatus(
        verdict=Status(rollback.verdict),
        metric=rollback.metric or "",
        **_numbers(rollback.numbers),
        unripe=0,
        summary=rollback.reason,
    )


def _numbers(numbers: Numbers) -> dict[str, Any]:
    names = ("e_value", "threshold", "blocks", "stable_labels", "stable_bad", "canary_labels", "canary_bad")
    return {name: getattr(numbers, name) for name in names}
