"""Every metric that there is."""

from typing import Final

from stream_router.core.deciding.metrics import Metric
from stream_router.core.deciding.metrics.accuracy import Accuracy
from stream_router.core.deciding.metrics.attrition import Attrition
from stream_router.core.deciding.metrics.coverage import Coverage
from stream_router.core.deciding.metrics.errors import ErrorRate
from stream_router.core.deciding.metrics.latency import latency, model_latency
from stream_router.core.deciding.metrics.prediction_mix import PredictionMix
from stream_router.core.deciding.metrics.revisions import Revisions
from stream_router.core.policy import MetricName, MetricPolicy, Policy

_ALL: Final[tuple[Metric, ...]] = (
    Accuracy(),
    ErrorRate(),
    latency("latency_p50", 0.5),
    latency("latency_p99", 0.99),
    model_latency("model_latency_p50", 0.5),
    model_latency("model_latency_p99", 0.99),
    Attrition(),
    Coverage(),
    Revisions(),
    PredictionMix(),
)
_BY_NAME: Final[dict[MetricName, Metric]] = {metric.name: metric for metric in _ALL}

KINDS: Final = tuple(dict.fromkeys(metric.kind for metric in _ALL))
"""Kinds of outcomes that any metric reads."""


def judged(policy: Policy) -> list[tuple[Metric, MetricPolicy]]:
    """The metrics that have a test, in the policy's order: without a part of alpha there is nothing to bet.

    A start record in R.evidence may name one that only a later version knows: it has none here.
    """
    known = (one for one in policy.metrics if one.name in _BY_NAME)
    return [(_BY_NAME[one.name], one) for one in known if one.role != "off" and one.weight > 0]
