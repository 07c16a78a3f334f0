"""Coverage by age: a request whose first label is not there at the rollout's ripe age is bad.

Until then accuracy waits for labels, so lanes that differ here are compared on different parts of their requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stream_router.core.deciding.metrics.two_sided import Question, Read, TwoSidedTest
from stream_router.core.deciding.rows import Rows
from stream_router.core.evidence import LABELLING, RolloutStarted
from stream_router.core.policy import MetricName


def question(ripe_age: int) -> Question:
    """`ripe_age` in milliseconds: a delay of exactly that is in time."""

    def read(rows: Rows) -> Read:
        in_time = np.count_nonzero(rows["value"] <= ripe_age)  # no label, NaN, is not
        return Read(len(rows), len(rows) - int(in_time))

    within = f"within the ripe age of {ripe_age / 1000:,.10g} s"
    return Question(
        read=read,
        more="fewer of the requests of {canary} than of {stable} are labelled " + within,
        less="more of the requests of {canary} than of {stable} are labelled " + within,
        unshown="{canary} is not shown to differ from {stable} in the part of its requests labelled " + within,
        bad="later or never ",
        units="requests",
    )


@dataclass(frozen=True)
class Coverage:
    """See Metric."""

    name: MetricName = "coverage"
    kind: str = LABELLING
    unit: Literal["request"] = "request"
    known: Literal["maturity"] = "maturity"

    def test(self, started: RolloutStarted, texts: Mapping[float, str]) -> TwoSidedTest:
        del texts
        return TwoSidedTest(question(started.ripe_age), self.name, started.policy)
