"""Accuracy: an outcome is an answer's first label, and bad where the answer was wrong. An error is no answer."""

from collections.abc import Mapping
from typing import Final

from stream_router.core.deciding.metrics.one_sided import OneSidedTest
from stream_router.core.deciding.metrics.words import is_unknown, rule, unknown
from stream_router.core.evidence import ACCURACY, RolloutStarted
from stream_router.core.policy import Policy

NAME: Final = "accuracy"


class Accuracy:
    """See Metric."""

    name: Final = NAME
    kind: Final = ACCURACY
    unit: Final = "request"
    known: Final = "label"

    def test(self, started: RolloutStarted, texts: Mapping[float, str]) -> "AccuracyTest":
        del texts
        return AccuracyTest(started.policy)


class AccuracyTest(OneSidedTest):
    """Whether canary is less accurate."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy, NAME, policy.tolerated_odds_ratio)

    def sentence(self, stable: str, canary: str) -> str:
        n = self.numbers
        if is_unknown(n):
            return unknown(n, stable, canary, "labels")
        is_worse = "is less accurate" if self.unhealthy else "is not shown to be less accurate"
        return (
            f"{canary} {is_worse} than {stable}: {_shown(n.canary_bad, n.canary_labels)} labels) against "
            f"{_shown(n.stable_bad, n.stable_labels)}), "
            f"difference {n.difference:+.3f} (95 % {n.difference_low:+.3f} to {n.difference_high:+.3f}); {rule(n)}"
        )


def _shown(bad: int, labels: int) -> str:
    return f"{1 - bad / labels:.3f} ({labels - bad:,} of {labels:,}"
