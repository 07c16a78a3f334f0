"""The policy of a rollout: frozen, and written into R.evidence with the rollout that it judges."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, Final, Literal

CLOCK_SKEW_MS: Final = 60_000
"""Milliseconds by which clocks of processes may differ and records may come late in an open transaction."""

REMEMBERED_LABELS: Final = 10_000
"""Labels of a model version that are remembered beyond their windows: the most that a limit may ask for."""

RESTART_MS: Final = 60_000
"""Milliseconds in which a scoring job is expected to have restarted: its group's session, its start and its model."""

JOINED_BY: Final = (
    "window",
    "label_horizon",
    "prediction_deadline",
    "assign_by",
    "tolerance",
    "relative_tolerance",
    "bad",
)
"""Fields of a policy by which the monitor makes evidence, whichever rollout it is of."""

Role = Literal["guardrail", "signal", "off"]
"""What an unhealthy verdict of a metric does: rolls the canary back, holds it, or nothing, since none is given."""

MetricName = Literal[
    "accuracy",
    "error_rate",
    "latency_p50",
    "latency_p99",
    "model_latency_p50",
    "model_latency_p99",
    "attrition",
    "coverage",
    "revisions",
    "prediction_mix",
]

LimitName = Literal[
    "accuracy",
    "accuracy_drop",
    "error_rate",
    "latency_p50",
    "latency_p99",
    "model_latency_p50",
    "model_latency_p99",
]
"""accuracy has a least value, all others a most; accuracy_drop is stable's last known accuracy minus canary's."""


@dataclass(frozen=True, kw_only=True)
class MetricPolicy:
    """How a rollout is judged by one metric.

    weight: its part of alpha, the probability of calling a healthy canary unhealthy by it. margin: the difference of
    the rates of bad outcomes, 0 to 1, by which canary may be worse and still be healthy.
    """

    name: MetricName
    role: Role
    weight: float
    margin: float = 0.02


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What canary may not pass, whatever stable shows: over `windows` windows with `predictions` predictions at least,
    also with any two neighbouring windows left out, or with one where there are only two.

    bound: a ratio in 0..1, of latencies in seconds.
    """

    metric: LimitName
    bound: float
    windows: int = 3
    predictions: int = 100


@dataclass(frozen=True, kw_only=True)
class Step:
    """One weight of canary on its way up, and what has to hold before the next.

    hold_for: milliseconds since the weight came into force. min_labels: mature labels of canary that this step gave.
    until: healthy, a verdict for every guardrail, or approved, by a person. pause: a person has to resume the rollout.
    """

    weight: float
    hold_for: int = 0
    min_labels: int = 100
    until: Literal["healthy", "approved"] | None = None
    pause: bool = False


STEPS: Final = (Step(weight=0.01), Step(weight=0.05), Step(weight=0.25), Step(weight=0.95))
"""The last leaves a holdback: with no outcomes of stable beside canary's nothing is tested."""

METRICS: Final[tuple[MetricPolicy, ...]] = (
    MetricPolicy(name="accuracy", role="guardrail", weight=0.6),
    MetricPolicy(name="error_rate", role="guardrail", weight=0.2, margin=0.01),
    MetricPolicy(name="latency_p50", role="signal", weight=0.035, margin=0.05),
    MetricPolicy(name="latency_p99", role="signal", weight=0.065, margin=0.01),
    MetricPolicy(name="model_latency_p50", role="signal", weight=0.035, margin=0.05),
    MetricPolicy(name="model_latency_p99", role="signal", weight=0.065, margin=0.01),
    MetricPolicy(name="attrition", role="signal", weight=0.2),
    MetricPolicy(name="coverage", role="signal", weight=0.2),
    MetricPolicy(name="revisions", role="signal", weight=0.2),
    MetricPolicy(name="prediction_mix", role="signal", weight=0.2),
)
"""Guardrails together roll a healthy canary back with probability alpha at most; signals hold it with alpha at most."""


ROUTE_SETTINGS: Final = (
    "window",
    "label_horizon",
    "prediction_deadline",
    "assign_by",
    "tolerance",
    "relative_tolerance",
    "bad",
)
"""Fields of a policy that are the route's: evidence is gathered by them, so that no rollout has others."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The settings of the route and the fields of the policy file of the same names, which say what each is, with all
    times in milliseconds. Without steps, as in records of version 1, a rollout goes forward by hand alone.
    """

    window: int = 60_000
    label_horizon: int = 86_400_000
    prediction_deadline: int = 300_000
    block_time: int | None = None
    alpha: float = 0.05
    entity_period: int | None = None
    max_labels: int = 20_000
    tolerated_odds_ratio: float = 1.0
    assign_by: Literal["key", "request"] = "key"
    metrics: tuple[MetricPolicy, ...] = METRICS
    limits: tuple[Limit, ...] = ()
    tolerance: float = 0.0
    relative_tolerance: float = 0.0
    bad: str | None = None
    ripe_age: int | None = None
    beta: float = 0.05
    silent_for: int | None = None
    steps: tuple[Step, ...] = STEPS
    max_duration: int | None = None
    on_inconclusive: Literal["stable", "pause"] = "stable"
    min_coverage: float = 0.1
    promotion_deadline: int = 600_000

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> "Policy":
        """What `dataclasses.asdict` gave. Raises KeyError or TypeError for fields that are none."""
        return cls(
            **{
                **fields,
                "metrics": tuple(MetricPolicy(**metric) for metric in fields["metrics"]),
                "limits": tuple(Limit(**limit) for limit in fields["limits"]),
                "steps": tuple(Step(**step) for step in fields["steps"]),
            }
        )

    def of_route(self, route: "Policy") -> "Policy":
        """The same with the route settings of that one."""
        return replace(self, **{name: getattr(route, name) for name in ROUTE_SETTINGS})

    def metric(self, name: MetricName) -> MetricPolicy:
        """What the policy says of the metric: one that it does not name is off."""
        found = [metric for metric in self.metrics if metric.name == name]
        return found[0] if found else MetricPolicy(name=name, role="off", weight=0.0)

    @cached_property
    def digest(self) -> str:
        """The first 12 hex digits of the SHA-256 of all fields as JSON with sorted keys and no spaces."""
        return sha256(json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]

    @property
    def block_age(self) -> int:
        return self.label_horizon if self.block_time is None else self.block_time

    @property
    def silence(self) -> int:
        """For how long canary has to be silent, from when that is found, to be rolled back: time for a restart."""
        return max(self.prediction_deadline, RESTART_MS) if self.silent_for is None else self.silent_for

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
