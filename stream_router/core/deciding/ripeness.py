"""The ripe age: how long the test waits for a window's labels, so that slowly labelled errors are among them."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from stream_router.core.evidence import Evidence
from stream_router.core.histogram import quantile
from stream_router.core.policy import Policy

QUANTILE: Final = 0.98
ENOUGH: Final = 50
"""Of fewer delays the 98 % quantile is no more than the largest: too short."""


class Ripeness:
    """Estimates the 98 % quantile of the label delay of stable's bad outcomes.

    Only from windows older than label_horizon: in younger ones slow labels are still missing. Retention: a histogram
    for each younger window, one for all older ones.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._young: dict[int, Counter[int]] = {}
        self._mature: Counter[int] = Counter()

    def on_record(self, evidence: Evidence, now: int | None) -> None:
        """Fold one record; `now` is the newest watermark so far."""
        for bad in evidence.bad_delays:
            self._young.setdefault(bad.window, Counter()).update(bad.delays)
        if evidence.watermark is None or now is None:
            return
        mature_until = now - self._policy.matures_after
        for window in [window for window in self._young if window <= mature_until]:
            self._mature.update(self._young.pop(window))

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        young = [(window, *entry) for window, delays in self._young.items() for entry in delays.items()]
        return {
            "young": np.array(young, np.int64).reshape(-1, 3),
            "mature": np.array(list(self._mature.items()), np.int64).reshape(-1, 2),
        }

    @classmethod
    def restored(cls, policy: Policy, state: Mapping[str, Any]) -> "Ripeness":
        """Raises LookupError or ValueError where the state is none."""
        ripeness = cls(policy)
        for window, bucket, count in state["young"].tolist():
            ripeness._young.setdefault(window, Counter())[bucket] = count
        ripeness._mature = Counter(dict(state["mature"].tolist()))
        return ripeness

    @property
    def ripe_age(self) -> int:
        """Milliseconds after a window's end: at most label_horizon, and that while fewer than 50 delays are known."""
        if self._mature.total() < ENOUGH:
            return self._policy.label_horizon
        age = quantile(self._mature, QUANTILE)
        return self._policy.label_horizon if age is None else min(age, self._policy.label_horizon)
