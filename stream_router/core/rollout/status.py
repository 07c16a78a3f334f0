"""The status of a rollout: what `:rollout` in Redis says, and what every view is drawn from."""

from dataclasses import dataclass
from typing import Protocol

from stream_router.core.deciding.fold import Summary
from stream_router.core.deciding.verdict import Status
from stream_router.core.policy import Policy
from stream_router.core.rollout.phases import Phase, phase_of
from stream_router.core.routing.control_view import ControlView
from stream_router.core.routing.split_store import SplitStore


@dataclass(frozen=True, kw_only=True)
class TrialStatus:
    """What the test has been fed and says; `summary` is a sentence.

    e_value: 1 at first, unhealthy at threshold = 1 / alpha. unripe: outcomes that wait until their window is ripe.
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


@dataclass(frozen=True, kw_only=True)
class RolloutStatus:
    """`trial` is None before the rollout's evidence has a start record; window and label_horizon in milliseconds."""

    phase: Phase
    rollout: int
    epoch: int
    canary_weight: float
    window: int
    label_horizon: int
    alpha: float
    trial: TrialStatus | None = None


class StatusStore(SplitStore, Protocol):
    """The keys of a route, with the one that only the controller writes: a copy for display."""

    def write_status(self, status: RolloutStatus) -> None:
        """Replace `:rollout`. Raises UnreachableError."""

    def status(self) -> RolloutStatus | None:
        """What `:rollout` says; None where it is not there. Raises UnreachableError."""


def status_of(view: ControlView, policy: Policy, summary: Summary | None) -> RolloutStatus:
    """`summary` is that of the rollout in force."""
    in_force = view.in_force
    return RolloutStatus(
        phase=phase_of(view),
        rollout=in_force.rollout,
        epoch=in_force.epoch,
        canary_weight=in_force.canary,
        window=policy.window,
        label_horizon=policy.label_horizon,
        alpha=policy.alpha,
        trial=None if summary is None else _trial_status(summary),
    )


def _trial_status(summary: Summary) -> TrialStatus:
    verdict, numbers = summary.verdict, summary.verdict.numbers
    return TrialStatus(
        verdict=verdict.status,
        metric=verdict.metric,
        e_value=numbers.e_value,
        threshold=numbers.threshold,
        blocks=numbers.blocks,
        stable_labels=numbers.stable_labels,
        stable_bad=numbers.stable_bad,
        canary_labels=numbers.canary_labels,
        canary_bad=numbers.canary_bad,
        unripe=summary.unripe,
        summary=verdict.reason,
    )
