"""The fields of a policy file: what they are, which values are refused, and the core's policy made of them."""

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from stream_router.core.durations import duration_of
from stream_router.core.policy import (
    METRICS,
    REMEMBERED_LABELS,
    STEPS,
    Limit,
    LimitName,
    MetricName,
    MetricPolicy,
    Policy,
    Role,
    Step,
)
from stream_router.policies.rules import Count, Duration, Ratio, SecondsOrText, broken, ratio_of, seconds_of

_STRICT: Final = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
_TWO_SIDED: Final[tuple[MetricName, ...]] = ("attrition", "coverage", "revisions", "prediction_mix")
"""They say that the lanes differ, not that canary is worse."""
_RATIOS: Final = ("accuracy", "accuracy_drop", "error_rate")
_LEAST: Final = 1e-9
"""Below it a probability of error is no policy, and its inverse may be beyond what floating-point numbers hold."""
_SMALLEST: Final = 1e-6
"""A share that the partitioner honours."""
_ROUNDING: Final = 1e-9
"""By which weights that add up to 1 may be above it as floating-point numbers."""

LABEL_HORIZON: Final = "label_horizon"
"""In the context of a validation: the route's, in seconds."""


class StepSettings(BaseModel):
    """A step is left for the next when all that it names holds, and nothing holds the rollout."""

    model_config = _STRICT

    weight: Ratio = Field(description="Canary's share of the requests, above 0 and below 1; each step has more.")
    hold_for: Duration = Field(0, description="How long it stays at least, from when the weight came into force.")
    min_labels: Count = Field(
        100,
        le=REMEMBERED_LABELS,
        description="Labels that canary's requests of this step need, each as old as label_horizon.",
    )
    until: Literal["healthy", "approved"] | None = Field(
        None,
        description="`healthy`: every guardrail has that verdict; the last step needs it anyway. `approved`: a person "
        "has to say so.",
    )
    pause: bool = Field(False, strict=True, description="Pause here, until a person resumes the rollout.")

    @field_validator("weight")
    @classmethod
    def _is_between(cls, weight: float) -> float:
        if not _SMALLEST <= weight <= 1 - _SMALLEST:
            raise broken(
                f"expected from {_SMALLEST:g} to {1 - _SMALLEST:g}, such as 0.05 for 5 %: all requests are the "
                "promotion's, none a rollback's"
            )
        return weight

    def to_step(self) -> Step:
        return Step(**self.model_dump() | {"hold_for": round(self.hold_for * 1000)})


class MetricSettings(BaseModel):
    """How a rollout is judged by one metric; what is not set stays as it is by default."""

    model_config = _STRICT

    role: Role | None = Field(
        None,
        description="What an unhealthy verdict does: rolls canary back (guardrail; not of attrition, coverage, "
        "revisions or prediction_mix, which say that lanes differ), holds it (signal), or none is given (off).",
    )
    weight: Ratio | None = Field(
        None,
        ge=1e-6,
        le=1,
        description="The metric's part of alpha. Those of all guardrails, and of all signals, add up to at most 1.",
    )
    margin: Ratio | None = Field(
        None,
        gt=0,
        lt=1,
        description="By how much canary's rate of bad outcomes may be above stable's, and canary be healthy; a ratio.",
    )


class LimitSettings(BaseModel):
    """What canary may not pass, whatever stable shows: then it is rolled back."""

    model_config = _STRICT

    metric: LimitName = Field(
        description="What is limited: accuracy from below, all others from above; accuracy_drop is the last known "
        "accuracy of stable minus that of canary."
    )
    bound: float = Field(description="A ratio of 0 to 1, of latencies a duration.")
    windows: Count = Field(3, description="The newest windows of canary, which are looked at together.")
    predictions: Count = Field(
        100, description="Predictions in them, of accuracies labels, below which the limit says nothing."
    )

    @field_validator("bound", mode="before", json_schema_input_type=SecondsOrText)
    @classmethod
    def _is_bound(cls, bound: Any, info: ValidationInfo) -> float:
        return ratio_of(bound) if info.data.get("metric") in _RATIOS else seconds_of(bound)

    @model_validator(mode="after")
    def _fits(self) -> "LimitSettings":
        if self.metric == "accuracy_drop" and self.predictions > REMEMBERED_LABELS:
            raise broken(f"of stable no more than {REMEMBERED_LABELS:,} labels are remembered", "predictions")
        return self


class PolicyFile(BaseModel):
    """What a rollout is judged by, and how it goes forward; an empty one is all defaults."""

    model_config = _STRICT

    steps: tuple[StepSettings, ...] = Field(
        tuple(StepSettings(weight=step.weight) for step in STEPS),
        max_length=100,
        description="Canary's way up to the promotion, each with more weight than the one before.",
    )
    metrics: dict[MetricName, MetricSettings] = Field(
        default_factory=dict,
        description="How a rollout is judged by each metric: role, weight and margin, below the metric's name.",
    )
    limits: tuple[LimitSettings, ...] = Field(
        (),
        max_length=100,
        description="What canary may not pass, whatever stable shows: metric, bound, windows, predictions.",
    )
    alpha: Ratio = Field(
        0.05, ge=_LEAST, lt=1, description="At most this is the probability of ever rolling back a healthy canary."
    )
    beta: Ratio = Field(
        0.05,
        ge=_LEAST,
        lt=1,
        description="At most this is the probability of calling a canary healthy that is worse by the margin.",
    )
    tolerated_odds_ratio: float = Field(
        1.0, strict=True, ge=1, le=1e6, description="Canary's error odds, as a multiple of stable's, that are healthy."
    )
    max_labels: Count = Field(
        20_000,
        description="Canary labels over which the test spreads its bets. Past them there is no decision: see "
        "on_inconclusive.",
    )
    max_duration: Duration | None = Field(
        None, gt=0, description="The longest that a rollout may take without a decision. Not set: as long as it takes."
    )
    on_inconclusive: Literal["stable", "pause"] = Field(
        "stable",
        description="What is done without a decision: `stable` takes canary's share away, `pause` leaves it. Either "
        "way the rollout pauses, and a person is told.",
    )
    min_coverage: Ratio = Field(
        0.1,
        description="The part of the predictions that has to be labelled once they had their time; below it the "
        "rollout is held.",
    )
    entity_period: Duration | None = Field(
        None,
        gt=0,
        description="An entity (a key) gives one outcome in this time. Not set: one in the whole rollout.",
    )
    block_time: Duration | None = Field(
        None, gt=0, description="How long evidence may gather before it is bet on. Not set: label_horizon."
    )
    ripe_age: Duration | Literal["horizon"] | None = Field(
        None,
        description="How long after its window's end an outcome waits before it is bet on: a duration, or `horizon` "
        "for the whole label_horizon. Not set: estimated from how long stable's bad outcomes take to be labelled.",
    )
    silent_for: Duration | None = Field(
        None,
        gt=0,
        description="Canary is rolled back once it has not answered for so long, from when that was found, while "
        "stable does. Not set: the route's prediction_deadline, at least a minute, in which a job restarts.",
    )
    promotion_deadline: Duration = Field(
        600,
        gt=0,
        description="How long stable's jobs may take to serve the promoted version; then it is told which lag, and "
        "waited for.",
    )

    @field_validator("steps")
    @classmethod
    def _weights_rise(cls, steps: tuple[StepSettings, ...]) -> tuple[StepSettings, ...]:
        if not steps:
            raise broken("expected one or more, or leave it out")
        for number, (before, step) in enumerate(pairwise(steps), 1):
            if step.weight <= before.weight:
                raise broken(
                    f"the step before has {before.weight:g}: expected more, since a step only goes up", number, "weight"
                )
        return steps

    @field_validator("metrics")
    @classmethod
    def _weights_fit(cls, metrics: dict[MetricName, MetricSettings]) -> dict[MetricName, MetricSettings]:
        for name, metric in metrics.items():
            if name in _TWO_SIDED and metric.role == "guardrail":
                raise broken(
                    f"{name} cannot be a guardrail: it says that the lanes differ, not that canary is worse; "
                    "expected signal or off",
                    name,
                    "role",
                )
        for role in ("guardrail", "signal"):
            weights = {metric.name: metric.weight for metric in _judged_by(metrics) if metric.role == role}
            if math.fsum(weights.values()) > 1 + _ROUNDING:
                told = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
                total = math.fsum(weights.values())
                raise broken(
                    f"the weights of all {role}s add up to {total:g} ({told}): expected at most 1, "
                    "lower some or turn a metric off"
                )
        return metrics

    @field_validator("ripe_age", mode="before", json_schema_input_type=SecondsOrText | Literal["horizon"] | None)
    @classmethod
    def _is_age(cls, ripe_age: Any, info: ValidationInfo) -> Any:
        if ripe_age is None or ripe_age == "horizon":
            return ripe_age
        seconds, horizon = seconds_of(ripe_age, "'horizon'"), (info.context or {}).get(LABEL_HORIZON, math.inf)
        if seconds > horizon:
            raise broken(
                f"expected at most the route's label_horizon, {duration_of(round(horizon * 1000))}, or 'horizon'"
            )
        return seconds

    def to_policy(self, of_route: Policy) -> Policy:
        """With the route settings of that one."""
        ripe_age = of_route.label_horizon / 1000 if self.ripe_age == "horizon" else self.ripe_age
        return replace(
            of_route,
            steps=tuple(step.to_step() for step in self.steps),
            metrics=_judged_by(self.metrics),
            limits=tuple(Limit(**limit.model_dump()) for limit in self.limits),
            alpha=self.alpha,
            beta=self.beta,
            tolerated_odds_ratio=self.tolerated_odds_ratio,
            max_labels=self.max_labels,
            max_duration=_milliseconds(self.max_duration),
            on_inconclusive=self.on_inconclusive,
            min_coverage=self.min_coverage,
            entity_period=_milliseconds(self.entity_period),
            block_time=_milliseconds(self.block_time),
            ripe_age=None if ripe_age is None else round(ripe_age * 1000),
            silent_for=_milliseconds(self.silent_for),
            promotion_deadline=_milliseconds(self.promotion_deadline) or 1,
        )


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, round(seconds * 1000))


def _judged_by(changes: Mapping[MetricName, MetricSettings]) -> tuple[MetricPolicy, ...]:
    """The metrics by default, with what was set."""
    none = MetricSettings()
    return tuple(replace(metric, **changes.get(metric.name, none).model_dump(exclude_none=True)) for metric in METRICS)


def fields_of(policy: Policy) -> dict[str, Any]:
    """The policy as a file would have it, with every default: what such a file is read as is the same policy."""
    document: dict[str, Any] = {}
    for name in PolicyFile.model_fields:
        document[name] = getattr(policy, name)
    for name in ("max_duration", "entity_period", "block_time", "ripe_age", "silent_for", "promotion_deadline"):
        document[name] = None if document[name] is None else duration_of(document[name])
    document["steps"] = [_step_fields(step) for step in policy.steps]
    document["metrics"] = {
        metric.name: {"role": metric.role, "weight": metric.weight, "margin": metric.margin}
        for metric in policy.metrics
    }
    document["limits"] = [asdict(limit) for limit in policy.limits]
    return document


def _step_fields(step: Step) -> dict[str, Any]:
    """Without a gate that the step has not."""
    fields = {**asdict(step), "hold_for": duration_of(step.hold_for)}
    return {name: value for name, value in fields.items() if value not in (None, False)}
