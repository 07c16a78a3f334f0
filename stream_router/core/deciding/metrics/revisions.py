"""Revisions: of the requests that got a label, one whose label was changed later is bad."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stream_router.core.deciding.metrics.two_sided import Question, Read, TwoSidedTest
from stream_router.core.deciding.rows import Rows
from stream_router.core.evidence import LABELLING, RolloutStarted
from stream_router.core.policy import MetricName


def _read(rows: Rows) -> Read:
    labelled = ~np.isnan(rows["value"])
    return Read(int(labelled.sum()), int((labelled & rows["bad"]).sum()))


QUESTION = Question(
    read=_read,
    more="labels are revised more often for {canary} than for {stable}",
    less="labels are revised less often for {canary} than for {stable}",
    unshown="labels are not shown to be revised more or less often for {canary} than for {stable}",
    bad="",
    units="labels",
)


@dataclass(frozen=True)
class Revisions:
    """See Metric."""

    name: MetricName = "revisions"
    kind: str = LABELLING
    unit: Literal["request"] = "request"
    known: Literal["maturity"] = "maturity"

    def test(self, started: RolloutStarted, texts: Mapping[float, str]) -> TwoSidedTest:
        del texts
        return TwoSidedTest(QUESTION, self.name, started.policy)
