"""How long labels take, told from cohorts that are still too young to have all of theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from stream_router.core.histogram import lower_bound


@dataclass(frozen=True, slots=True)
class Cohort:
    """Delays seen so far, bucket to number, of predictions that are all at least `age` milliseconds old."""

    age: int
    delays: Mapping[int, int]


def untruncated_quantile(cohorts: Sequence[Cohort], q: float) -> int | None:
    """Upper end, in milliseconds, of the bucket in which the quantile 0 < q <= 1 of the delays lies.

    A delay is seen only if it is shorter than its cohort's age: short ones are seen too often. The product-limit
    estimate runs backwards in time (Lagakos, Barraj & De Gruttola 1988, Biometrika 75, eq. 3): of the delays known to
    be at most t among cohorts old enough to show t, the part that is t itself is the reverse hazard, and
    F(t) is the product of 1 - hazard over all delays longer than t. What takes longer than the oldest cohort's age
    cannot be told from it: the caller asks for an age well above the answer. None without observations.
    """
    buckets = sorted(set(chain.from_iterable(cohort.delays for cohort in cohorts)))
    place = {bucket: number for number, bucket in enumerate(buckets)}
    ends = np.array([lower_bound(bucket + 1) - 1 for bucket in buckets], np.int64)
    counts = np.zeros((len(cohorts), len(buckets)), np.int64)
    for row, cohort in zip(counts, cohorts, strict=True):
        row[[place[bucket] for bucket in cohort.delays]] = list(cohort.delays.values())
    shown = ends < np.array([cohort.age for cohort in cohorts], np.int64)[:, np.newaxis]
    counts[~shown] = 0
    at = counts.sum(axis=0)
    at_most = np.where(shown, counts.cumsum(axis=1), 0).sum(axis=0)
    found, remaining = None, 1.0
    for bucket in np.flatnonzero(at)[::-1]:
        if remaining < q * (1 - 1e-12):  # rounded, where it is q
            break
        found = int(ends[bucket])
        remaining *= 1.0 - at[bucket] / at_most[bucket]
    return found
