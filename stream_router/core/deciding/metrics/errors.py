"""Error rate: an outcome is a prediction, and bad where it is an error. No label is needed.

Errors come in clusters: a micro-batch fails as a whole, a job for seconds. So one row of a micro-batch is looked at,
and of a lane one a second: which one depends on nothing but its place and hash.
"""

from collections.abc import Mapping
from typing import Final

from stream_router.core.deciding.metrics.one_sided import OneSidedTest
from stream_router.core.deciding.metrics.words import is_unknown, percent, points, rule, unknown
from stream_router.core.evidence import ERROR, RolloutStarted
from stream_router.core.policy import Policy

NAME: Final = "error_rate"


class ErrorRate:
    """See Metric."""

    name: Final = NAME
    kind: Final = ERROR
    unit: Final = "second"
    known: Final = "prediction"

    def test(self, started: RolloutStarted, texts: Mapping[float, str]) -> "ErrorRateTest":
        del texts
        return ErrorRateTest(started.policy)


class ErrorRateTest(OneSidedTest):
    """Whether canary fails more often."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy, NAME, policy.tolerated_odds_ratio)

    def sentence(self, stable: str, canary: str) -> str:
        n = self.numbers
        if is_unknown(n):
            return unknown(n, stable, canary, "sampled answers")
        is_worse = "fails more often" if self.unhealthy else "is not shown to fail more often"
        return (
            f"{canary} {is_worse} than {stable}: {percent(n.canary_bad, n.canary_labels)} "
            f"({n.canary_bad:,} of {n.canary_labels:,} sampled answers) against "
            f"{percent(n.stable_bad, n.stable_labels)} ({n.stable_bad:,} of {n.stable_labels:,}), "
            f"{points(n)}; {rule(n)}"
        )
