"""The settings of a rollout's policy: what they are, which values are refused, and the core's policy made of them."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from stream_router.core.policy import (
    METRICS,
    REMEMBERED_LABELS,
    Limit,
    LimitName,
    MetricName,
    MetricPolicy,
    Policy,
    Role,
)

_STRICT: Final = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
_TWO_SIDED: Final[tuple[MetricName, ...]] = ("attrition", "coverage", "revisions", "prediction_mix")
"""They say that the lanes differ, not that canary is worse."""
_RATIOS: Final = ("accuracy", "accuracy_drop", "error_rate")
_CALLABLE: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_LEAST: Final = 1e-9
"""Below it a probability of error is no policy, and its inverse may be beyond what floating-point numbers hold."""
_ROUNDING: Final = 1e-9
"""By which weights that add up to 1 may be above it as floating-point numbers."""


class MetricSettings(BaseModel):
    """How a rollout is judged by one metric; what is not set stays as it is by default."""

    model_config = _STRICT

    role: Role | None = Field(
        None,
        description="What an unhealthy verdict does: rolls canary back (guardrail; not of attrition, coverage, "
        "revisions or prediction_mix, which say that lanes differ), holds it (signal), or none is given (off).",
    )
    weight: float | None = Field(
        None,
        ge=1e-6,
        le=1,
        description="The metric's part of alpha. Those of all guardrails, and of all signals, add up to at most 1.",
    )
    margin: float | None = Field(
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
    bound: float = Field(ge=0, description="A ratio of 0 to 1, of latencies seconds.")
    windows: int = Field(3, ge=1, description="The newest windows of canary, which are looked at together.")
    predictions: int = Field(
        100, ge=1, description="Predictions in them, of accuracies labels, below which the limit says nothing."
    )

    @model_validator(mode="after")
    def _fits(self) -> "LimitSettings":
        if self.metric in _RATIOS and self.bound > 1:
            raise ValueError(
                f"bound of {self.metric} is {self.bound:g}: expected a ratio of 0 to 1, such as 0.05 for 5 %"
            )
        if self.metric == "accuracy_drop" and self.predictions > REMEMBERED_LABELS:
            raise ValueError(
                f"predictions is {self.predictions}: of stable no more than {REMEMBERED_LABELS:,} labels are remembered"
            )
        return self


class PolicySettings(BaseModel):
    """How a rollout is counted and judged."""

    model_config = _STRICT

    window: float = Field(60, gt=0, description="Length of a window, in which requests are counted together; seconds.")
    label_horizon: float = Field(
        86_400, gt=0, description="How long the truth about a request may take, from its window's end; seconds."
    )
    prediction_deadline: float = Field(
        300,
        gt=0,
        description="Time for a prediction, from the routing of its request; rows are kept so much longer. Seconds.",
    )
    block_time: float | None = Field(
        None, gt=0, description="How long evidence may gather before it is bet on; seconds. Not set: label_horizon."
    )
    alpha: float = Field(
        0.05, ge=_LEAST, lt=1, description="At most this is the probability of ever rolling back a healthy canary."
    )
    entity_period: float | None = Field(
        None,
        gt=0,
        description="An entity (a key) gives one outcome in this time; seconds. Not set: one in the whole rollout.",
    )
    max_labels: int = Field(
        20_000, gt=0, description="Canary labels over which the test spreads its bets; past them the verdict says so."
    )
    tolerated_odds_ratio: float = Field(
        1.0, ge=1, description="Canary's error odds, as a multiple of stable's, that are still healthy."
    )
    assign_by: Literal["key", "request"] = Field(
        "key", description="What a lane is drawn from: the request's key, so that lanes are sticky, or each request."
    )

    metrics: dict[MetricName, MetricSettings] = Field(
        default_factory=dict,
        description="How a rollout is judged by each metric: role, weight and margin, in a table of the metric's name.",
    )
    limits: tuple[LimitSettings, ...] = Field(
        (), description="What canary may not pass, whatever stable shows: metric, bound, windows, predictions."
    )
    tolerance: float = Field(
        0.0, ge=0, description="By how much a predicted number may miss the truth and still be right."
    )
    relative_tolerance: float = Field(
        0.0, ge=0, description="The same as a ratio of the truth; whichever of the two allows more."
    )
    bad: str | None = Field(
        None,
        description="MODULE:CALLABLE of yours that is given prediction and truth, and says whether the answer is bad. "
        "Not set: it is unless the two agree.",
    )
    ripe_age: float | Literal["horizon"] | None = Field(
        None,
        description="How long after its window's end an outcome waits before it is bet on; seconds, or the whole "
        "label_horizon. Not set: estimated from how long stable's bad outcomes take to be labelled.",
    )
    beta: float = Field(
        0.05,
        ge=_LEAST,
        lt=1,
        description="At most this is the probability of calling a canary healthy that is worse by the margin.",
    )
    silent_for: float | None = Field(
        None,
        gt=0,
        description="Canary is rolled back once it has not answered for so long, from when that was found, while "
        "stable does; seconds. Not set: prediction_deadline, and at least 60, in which a scoring job restarts.",
    )

    @field_validator("metrics")
    @classmethod
    def _weights_fit(cls, metrics: dict[MetricName, MetricSettings]) -> dict[MetricName, MetricSettings]:
        for name, metric in metrics.items():
            if name in _TWO_SIDED and metric.role == "guardrail":
                raise ValueError(
                    f"{name} cannot be a guardrail: it says that the lanes differ, not that canary is worse; "
                    "expected signal or off"
                )
        for role in ("guardrail", "signal"):
            weights = {metric.name: metric.weight for metric in _judged_by(metrics) if metric.role == role}
            if math.fsum(weights.values()) > 1 + _ROUNDING:
                told = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
                total = math.fsum(weights.values())
                raise ValueError(
                    f"the weights of all {role}s add up to {total:g} ({told}): expected at most 1, "
                    "lower some or turn a metric off"
                )
        return metrics

    @field_validator("bad")
    @classmethod
    def _is_callable(cls, bad: str | None) -> str | None:
        if bad is not None and not _CALLABLE.fullmatch(bad):
            raise ValueError("expected MODULE:CALLABLE, such as my_company.judging:is_bad")
        return bad

    @field_validator("ripe_age", mode="before")
    @classmethod
    def _is_age(cls, ripe_age: Any, info: ValidationInfo) -> Any:
        if ripe_age is None or ripe_age == "horizon":
            return ripe_age
        horizon = info.data.get("label_horizon", math.inf)
        try:
            seconds = float(ripe_age)
        except (TypeError, ValueError):
            seconds = math.nan
        if not 0 <= seconds <= horizon:
            raise ValueError(f"expected seconds from 0 to label_horizon ({horizon:g}), or 'horizon' for all of it")
        return seconds

    def to_policy(self) -> Policy:
        def milliseconds(seconds: float) -> int:
            return max(1, round(seconds * 1000))

        ripe_age = self.label_horizon if self.ripe_age == "horizon" else self.ripe_age

        return Policy(
            window=milliseconds(self.window),
            label_horizon=milliseconds(self.label_horizon),
            prediction_deadline=milliseconds(self.prediction_deadline),
            block_time=None if self.block_time is None else milliseconds(self.block_time),
            alpha=self.alpha,
            entity_period=None if self.entity_period is None else milliseconds(self.entity_period),
            max_labels=self.max_labels,
            tolerated_odds_ratio=self.tolerated_odds_ratio,
            assign_by=self.assign_by,
            metrics=_judged_by(self.metrics),
            limits=tuple(Limit(**limit.model_dump()) for limit in self.limits),
            tolerance=self.tolerance,
            relative_tolerance=self.relative_tolerance,
            bad=self.bad,
            ripe_age=None if ripe_age is None else round(ripe_age * 1000),
            beta=self.beta,
            silent_for=None if self.silent_for is None else milliseconds(self.silent_for),
        )


def _judged_by(changes: Mapping[MetricName, MetricSettings]) -> tuple[MetricPolicy, ...]:
    """The metrics by default, with what was set."""
    none = MetricSettings()
    return tuple(replace(metric, **changes.get(metric.name, none).model_dump(exclude_none=True)) for metric in METRICS)
