"""Parts of sentences and documents about a route, shared by all views."""

import math
from typing import Any

from stream_router.core.rollout.status import RolloutStatus
from stream_router.views.lane_count import LaneCount


def accuracy_text(count: LaneCount) -> str:
    """Accuracy with its 95 % interval."""
    if count.accuracy is None:
        return "unknown"
    return f"{count.accuracy:.3f} [{count.interval.low:.3f}, {count.interval.high:.3f}]"


def e_value_text(status: RolloutStatus | None) -> str:
    if status is None or status.trial is None:
        return "no e-value yet"
    return f"e-value {status.trial.e_value:.2f} of {status.trial.threshold:.0f}"


def way_to_rollback(status: RolloutStatus | None) -> float:
    """How far the e-value is on its way from 1 to its threshold, in orders of magnitude; 0 to 1."""
    if status is None or status.trial is None or status.trial.e_value <= 0 or status.trial.threshold <= 1:
        return 0.0
    return min(1.0, max(0.0, math.log(status.trial.e_value) / math.log(status.trial.threshold)))


def lane_document(count: LaneCount) -> dict[str, Any]:
    return {
        "requests": count.requests,
        "labelled": count.labelled,
        "correct": count.correct,
        "accuracy": count.accuracy,
        "interval": list(count.interval),
    }
