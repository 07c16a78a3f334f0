"""Parts of sentences and documents about a route, shared by all views."""

import math
from typing import Any

from stream_router.core.deciding.numbers import Status
from stream_router.core.rollout.status import MetricStatus, RolloutStatus
from stream_router.views.lane_count import LaneCount


def accuracy_text(count: LaneCount) -> str:
    """Accuracy with its 95 % interval."""
    if count.accuracy is None:
        return "unknown"
    return f"{count.accuracy:.3f} [{count.interval.low:.3f}, {count.interval.high:.3f}]"


def e_value_text(status: RolloutStatus | None) -> str:
    """Of the guardrail that is nearest to a rollback."""
    if status is None or status.trial is None:
        return "no e-value yet"
    if status.trial.e_value is None and status.trial.verdict is Status.UNHEALTHY:
        return f"unhealthy, by the rule {status.trial.metric}"
    e_value, threshold = _nearest(status)
    return "no e-value" if e_value is None or threshold is None else f"e-value {_of(e_value, threshold)}"


def way_to_rollback(status: RolloutStatus | None) -> float:
    """How far that e-value is on its way from 1 to its threshold, in orders of magnitude; 0 to 1."""
    return 0.0 if status is None or status.trial is None else _way(*_nearest(status))


def _nearest(status: RolloutStatus) -> tuple[float | None, float | None]:
    """E-value and threshold."""
    guardrails = [(metric.e_value, metric.threshold) for metric in status.metrics if metric.role == "guardrail"]
    shown = [] if status.trial is None else [(status.trial.e_value, status.trial.threshold)]
    return max(guardrails or shown, key=lambda one: _way(*one), default=(None, None))


def _way(e_value: float | None, threshold: float | None) -> float:
    if e_value is None or threshold is None or e_value <= 0 or threshold <= 1:
        return 0.0
    return min(1.0, max(0.0, math.log(e_value) / math.log(threshold)))


def _of(e_value: float, threshold: float) -> str:
    return f"{e_value:.2f} of {f'{threshold:.1f}'.removesuffix('.0')}"


def metric_row(metric: MetricStatus) -> tuple[str, str, str, str, str, str]:
    """Name, role, verdict, e-value, and bad of all outcomes of stable and of canary, as texts."""
    e_value = "" if metric.e_value is None or metric.threshold is None else _of(metric.e_value, metric.threshold)
    lanes = (
        (metric.stable_bad, metric.stable_outcomes),
        (metric.canary_bad, metric.canary_outcomes),
    )
    stable, canary = (f"{bad:,} of {outcomes:,}" if outcomes else "" for bad, outcomes in lanes)
    return metric.name, metric.role, metric.verdict.value, e_value, stable, canary


def lane_document(count: LaneCount) -> dict[str, Any]:
    return {
        "requests": count.requests,
        "labelled": count.labelled,
        "correct": count.correct,
        "accuracy": count.accuracy,
        "interval": list(count.interval),
    }
