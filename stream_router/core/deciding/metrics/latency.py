"""Latency: an outcome is a micro-batch, and bad where it took longer than stable's quantile of earlier blocks.

The quantile follows stable through drift, and is fixed before a block's outcomes are looked at: given that, which lane
they fall into is as random as the assignment of requests.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from stream_router.core.deciding.blocks import Block
from stream_router.core.deciding.metrics.one_sided import OneSidedTest
from stream_router.core.deciding.metrics.words import is_unknown, milliseconds, percent, points, rule, unknown
from stream_router.core.evidence import LATENCY, MODEL_LATENCY, Doubles, Flags, RolloutStarted
from stream_router.core.policy import MetricName, Policy

ENOUGH: Final = 1_000
"""Outcomes of stable before which nothing is bet: of fewer a 99 % quantile is a matter of chance."""

KEPT: Final = 10_000
"""The newest outcomes of stable of which the quantile is taken."""

_STALE: Final = 0.05
"""The quantile is taken anew once this part of the values is new: each block by itself would cost more than the bet."""


@dataclass(frozen=True)
class Latency:
    """See Metric. `quantile` lies between 0 and 1, `shown` is its name, `slower` and `be_slower` what a canary does."""

    name: MetricName
    kind: str
    quantile: float
    shown: str
    slower: str
    be_slower: str
    unit: Final = "micro-batch"
    known: Final = "prediction"

    def test(self, started: RolloutStarted, texts: Mapping[float, str]) -> "LatencyTest":
        del texts
        return LatencyTest(self, started.policy)


def latency(name: MetricName, quantile: float) -> Latency:
    """From the request to its answer."""
    return Latency(name, LATENCY, quantile, f"p{quantile * 100:.0f}", "answers slower", "is not shown to answer slower")


def model_latency(name: MetricName, quantile: float) -> Latency:
    """Of the model alone."""
    return Latency(
        name,
        MODEL_LATENCY,
        quantile,
        f"p{quantile * 100:.0f} of model time",
        "computes longer",
        "is not shown to compute longer",
    )


class LatencyTest(OneSidedTest):
    """Whether canary is more often slower than stable's quantile."""

    def __init__(self, metric: Latency, policy: Policy) -> None:
        super().__init__(policy, metric.name)
        self._metric = metric
        self._values: Doubles = np.empty(0)
        self._fresh = 0
        self._bound: float | None = None
        """The quantile in seconds; None until enough is known."""

    def bad(self, block: Block) -> tuple[Flags, Flags] | None:
        if self._bound is None:
            return None
        return block.stable["value"] > self._bound, block.canary["value"] > self._bound

    def learn(self, block: Block) -> None:
        values = block.stable["value"]
        values = values[np.isfinite(values)]
        self._values = np.concatenate((self._values, values))[-KEPT:]
        self._fresh += len(values)
        if len(self._values) >= ENOUGH and (self._bound is None or self._fresh >= _STALE * len(self._values)):
            self._bound, self._fresh = quantile_of(self._values, self._metric.quantile), 0

    def sentence(self, stable: str, canary: str) -> str:
        n, metric = self.numbers, self._metric
        if self._bound is None:
            return (
                f"nothing is known yet of {canary} against {stable}: {len(self._values):,} of the {ENOUGH:,} batches "
                f"of stable that its {metric.shown} is taken from"
            )
        if is_unknown(n):
            return unknown(n, stable, canary, "batches")
        slower = metric.slower if self.unhealthy else metric.be_slower
        return (
            f"{canary} {slower} than {stable}'s {metric.shown} of {milliseconds(self._bound)} in "
            f"{percent(n.canary_bad, n.canary_labels)} of {n.canary_labels:,} batches against "
            f"{percent(n.stable_bad, n.stable_labels)} of {n.stable_labels:,}, {points(n)}; {rule(n)}"
        )

    def state(self) -> dict[str, Any]:
        return {**super().state(), "values": self._values, "fresh": self._fresh, "bound": self._bound}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._values, self._fresh = np.asarray(state["values"], np.float64), state["fresh"]
        self._bound = state["bound"]


def quantile_of(values: Doubles, q: float) -> float:
    """The least of the values, of shape (n,), that at least a part q of them does not pass."""
    rank = max(math.ceil(q * len(values)) - 1, 0)
    return float(np.partition(values, rank)[rank])
