"""The policy of a rollout: frozen, and written into R.evidence with the rollout that it judges."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

CLOCK_SKEW_MS: Final = 60_000
"""Milliseconds by which clocks of processes may differ and records may come late in an open transaction."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The settings of the same names, which say what each is, with all times in milliseconds."""

    window: int = 60_000
    label_horizon: int = 86_400_000
    prediction_deadline: int = 300_000
    block_time: int | None = None
    alpha: float = 0.05
    entity_period: int | None = None
    max_labels: int = 20_000
    tolerated_odds_ratio: float = 1.0
    assign_by: Literal["key", "request"] = "key"

    @property
    def block_age(self) -> int:
        return self.label_horizon if self.block_time is None else self.block_time

    @cached_property
    def matures_after(self) -> int:
        """The time from a window's start after which no label counts for it."""
        return self.window + self.label_horizon

    @cached_property
    def reach(self) -> int:
        """The longest time between a routing and anything that still counts for the request."""
        return self.matures_after + self.prediction_deadline

    @property
    def kept_for(self) -> int:
        """The time for which a request's row is kept from its routing on: then nothing can change it any more."""
        return self.reach + self.prediction_deadline + CLOCK_SKEW_MS

    def window_start(self, routed_at: int) -> int:
        return routed_at - routed_at % self.window
