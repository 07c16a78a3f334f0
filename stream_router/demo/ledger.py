"""What the topics say about the demo: who was routed where, who was answered, what was decided. No I/O."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from stream_router.core.deciding.windows import WindowedAccuracy, WindowKey
from stream_router.core.lane import CANARY, LANES, STABLE, Lane
from stream_router.core.rollout.rollout_event import ROLLBACK, RolloutEvent
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.header import Routing
from stream_router.core.scoring.prediction import Prediction
from stream_router.views.lane_count import LaneCount


class Rollback(NamedTuple):
    """A rollback carried out: the event that ordered it, its split, and what was counted around it.

    answered: predictions of the canary's model. without_canary: what it would have answered had it replaced stable's
    at the canary's start. seconds: from the deciding label to the first request routed by the rollback's split, and
    seconds_from_verdict from the event. since: requests of each lane since.
    """

    event: RolloutEvent
    applied: AppliedSplit
    answered: int
    without_canary: int
    seconds: float | None
    seconds_from_verdict: float
    since: dict[Lane, int]


@dataclass
class Ledger:
    """Folds the records of one route's topics, each topic in its order."""

    splits: dict[int, AppliedSplit] = field(default_factory=dict)
    routed: Counter[tuple[int, Lane]] = field(default_factory=Counter)
    first_routed_at: dict[int, int] = field(default_factory=dict)
    answered: Counter[Lane] = field(default_factory=Counter)
    errors: Counter[Lane] = field(default_factory=Counter)
    windows: dict[WindowKey, WindowedAccuracy] = field(default_factory=dict)
    event: RolloutEvent | None = None
    newest_request: str | None = None

    def on_split(self, applied: AppliedSplit) -> None:
        self.splits[applied.epoch] = applied

    def on_routed(self, lane: Lane, routing: Routing) -> None:
        self.routed[routing.epoch, lane] += 1
        first = self.first_routed_at.get(routing.epoch, routing.routed_at)
        self.first_routed_at[routing.epoch] = min(first, routing.routed_at)

    def on_prediction(self, lane: Lane, prediction: Prediction) -> None:
        (self.answered if prediction.error is None else self.errors)[lane] += 1
        self.newest_request = prediction.request_id

    def on_window(self, window: WindowedAccuracy) -> None:
        self.windows[window.key] = window

    def on_event(self, event: RolloutEvent) -> None:
        if event.kind == ROLLBACK and self.event is None:
            self.event = event

    def lane(self, lane: Lane) -> LaneCount:
        windows = [window for window in self.windows.values() if window.lane == lane]
        return LaneCount(
            requests=sum(count for (_, to), count in self.routed.items() if to == lane),
            labelled=sum(window.labelled for window in windows),
            correct=sum(window.correct for window in windows),
        )

    @property
    def canary_epochs(self) -> list[int]:
        """Epochs under which canary had a share."""
        return sorted(epoch for epoch, applied in self.splits.items() if applied.canary > 0)

    @property
    def rollback(self) -> Rollback | None:
        """None until the event was read and a request was routed by the split that carries it out."""
        applied = self._split_of_rollback()
        if self.event is None or applied is None:
            return None
        since = [epoch for epoch in self.first_routed_at if epoch >= applied.epoch]
        if not since:
            return None
        decided_at = self.event.deciding_label_at
        routed_at = min(self.first_routed_at[epoch] for epoch in since)
        return Rollback(
            event=self.event,
            applied=applied,
            answered=self.answered[CANARY],
            without_canary=self._routed(self.canary_epochs, LANES),
            seconds=None if decided_at is None else (routed_at - decided_at) / 1000,
            seconds_from_verdict=(routed_at - self.event.decided_at) / 1000,
            since={lane: self._routed(since, [lane]) for lane in (STABLE, CANARY)},
        )

    def _split_of_rollback(self) -> AppliedSplit | None:
        if self.event is None:
            return None
        later = [
            applied
            for epoch, applied in sorted(self.splits.items())
            if epoch > self.event.epoch and applied.canary == 0
        ]
        return later[0] if later else None

    def _routed(self, epochs: Iterable[int], lanes: Iterable[Lane]) -> int:
        return sum(self.routed[epoch, lane] for epoch in epochs for lane in lanes)
