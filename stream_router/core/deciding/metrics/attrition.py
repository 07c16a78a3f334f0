"""Attrition: a request that never gets a label is bad, and the lanes should lose as many."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stream_router.core.deciding.metrics.two_sided import Question, Read, TwoSidedTest
from stream_router.core.deciding.rows import Rows
from stream_router.core.evidence import LABELLING, RolloutStarted
from stream_router.core.policy import MetricName


def _read(rows: Rows) -> Read:
    return Read(len(rows), int(np.isnan(rows["value"]).sum()))


QUESTION = Question(
    read=_read,
    more="labels come for fewer of the requests of {canary} than of {stable}",
    less="labels come for more of the requests of {canary} than of {stable}",
    unshown="labels are not shown to come for fewer or more of the requests of {canary} than of {stable}",
    bad="no label for ",
    units="requests",
)


@dataclass(frozen=True)
class Attrition:
    """See Metric."""

    name: MetricName = "attrition"
    kind: str = LABELLING
    unit: Literal["request"] = "request"
    known: Literal["maturity"] = "maturity"

    def test(self, started: RolloutStarted, texts: Mapping[float, str]) -> TwoSidedTest:
        del texts
        return TwoSidedTest(QUESTION, self.name, started.policy)
