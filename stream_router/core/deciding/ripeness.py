"""The ripe age: how long the test waits for a window's labels, so that slowly labelled errors are among them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from stream_router.core.deciding.truncation import Cohort, untruncated_quantile
from stream_router.core.evidence import Evidence
from stream_router.core.histogram import bucket_of, lower_bound, quantile
from stream_router.core.policy import Policy

QUANTILE: Final = 0.98
ENOUGH: Final = 50
"""Of fewer delays the 98 % quantile is no more than the largest: too short."""

YOUNG_FOR: Final = 3
"""How many times as old as the answer the oldest of the younger windows have to be: of what takes longer they cannot
tell."""

OLDEST: Final = 10
"""Delays that these have between them: a window with one or two shows next to nothing of what takes long."""

Basis = Literal["policy", "mature windows", "younger windows", "horizon"]


@dataclass(frozen=True, slots=True)
class RipeAge:
    """`ms` after a window's end, 0 to the label horizon; `reason`, for display, says why it is that."""

    ms: int
    basis: Basis
    reason: str

    def verdict_from(self, policy: Policy, routed_at: int) -> int:
        """When outcomes of requests routed from `routed_at` on may be bet on first; both in ms since the epoch."""
        return policy.window_start(routed_at) + policy.window + self.ms


class Ripeness:
    """Estimates the 98 % quantile of the label delay of stable's bad outcomes.

    From windows older than label_horizon, which have all their labels; before these have enough, from younger ones,
    corrected for the slow labels that are still missing in them. Retention: a histogram for each younger window, one
    for all older ones.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._young: dict[int, Counter[int]] = {}
        self._mature: Counter[int] = Counter()
        self._complete_until: int | None = None

    def on_record(self, evidence: Evidence, complete_until: int | None) -> None:
        """Fold one record; until `complete_until`, a time in ms, all labels are known: the least watermark, if any."""
        for bad in evidence.bad_delays:
            self._young.setdefault(bad.window, Counter()).update(bad.delays)
        if evidence.watermark is None or complete_until is None:
            return
        self._complete_until = complete_until
        mature_until = complete_until - self._policy.matures_after
        for window in [window for window in self._young if window <= mature_until]:
            self._mature.update(self._young.pop(window))

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        young = [(window, *entry) for window, delays in self._young.items() for entry in delays.items()]
        return {
            "young": np.array(young, np.int64).reshape(-1, 3),
            "mature": np.array(list(self._mature.items()), np.int64).reshape(-1, 2),
            "complete_until": self._complete_until,
        }

    @classmethod
    def restored(cls, policy: Policy, state: Mapping[str, Any]) -> "Ripeness":
        """Raises LookupError or ValueError where the state is none."""
        ripeness = cls(policy)
        for window, bucket, count in state["young"].tolist():
            ripeness._young.setdefault(window, Counter())[bucket] = count
        ripeness._mature = Counter(dict(state["mature"].tolist()))
        ripeness._complete_until = state["complete_until"]
        return ripeness

    @property
    def ripe_age(self) -> int:
        """Milliseconds after a window's end."""
        return self.estimate.ms

    @property
    def estimate(self) -> RipeAge:
        """What a rollout that starts now would wait for."""
        return self._by_policy() or self._from_mature() or self._from_younger() or self._horizon()

    def _by_policy(self) -> RipeAge | None:
        age = self._policy.ripe_age
        if age is None:
            return None
        age = min(age, self._policy.label_horizon)
        return RipeAge(age, "policy", f"ripe age {_seconds(age)}: the policy says so")

    def _from_mature(self) -> RipeAge | None:
        known, found = self._mature.total(), quantile(self._mature, QUANTILE)
        if known < ENOUGH or found is None:
            return None
        return self._estimated(found, "mature windows", known, "windows older than the label horizon")

    def _from_younger(self) -> RipeAge | None:
        """Where there are enough delays, and the oldest windows are old enough to tell the answer."""
        cohorts = self._cohorts()
        known = sum(sum(cohort.delays.values()) for cohort in cohorts)
        found = untruncated_quantile(cohorts, QUANTILE) if known >= ENOUGH else None
        # It lies in a bucket, of which `found` is the upper end.
        if found is None or lower_bound(bucket_of(found)) * YOUNG_FOR > _age_of(OLDEST, cohorts):
            return None
        return self._estimated(found, "younger windows", known, "windows younger than the label horizon, corrected")

    def _estimated(self, found: int, basis: Basis, known: int, windows: str) -> RipeAge:
        age = min(found, self._policy.label_horizon)
        what = f"{QUANTILE:.0%}".replace("%", " %")
        reason = f"{what} of stable's {known:,} bad answers are labelled by then ({windows})"
        return RipeAge(age, basis, f"ripe age {_seconds(age)}: {reason}")

    def _horizon(self) -> RipeAge:
        age, cohorts = self._policy.label_horizon, self._cohorts()
        known = sum(sum(cohort.delays.values()) for cohort in cohorts)
        if known < ENOUGH:
            why = (
                f"of stable's bad answers {known:,} are labelled, and {ENOUGH} are needed to tell how long labels take"
            )
        else:
            observed = max((cohort.age for cohort in cohorts), default=0)
            why = f"stable has been observed for {_seconds(observed)}, too short to tell how long labels take"
        return RipeAge(age, "horizon", f"ripe age {_seconds(age)}, the label horizon: {why}")

    def _cohorts(self) -> list[Cohort]:
        """Oldest first; without a watermark none."""
        if self._complete_until is None:
            return []
        newest_end = self._complete_until - self._policy.window
        young = [Cohort(newest_end - window, self._young[window]) for window in sorted(self._young)]
        mature = [Cohort(self._policy.matures_after, self._mature)] if self._mature else []
        return mature + [cohort for cohort in young if cohort.age > 0]


def _age_of(enough: int, cohorts: list[Cohort]) -> int:
    """The age that the oldest cohorts have which hold so many delays between them; 0 where all hold fewer."""
    held = 0
    for cohort in cohorts:
        held += sum(cohort.delays.values())
        if held >= enough:
            return cohort.age
    return 0


def _seconds(ms: int) -> str:
    return f"{ms / 1000:,.3g} s" if ms < 1_000_000 else f"{round(ms / 1000):,} s"  # noqa: PLR2004 - digits to show
