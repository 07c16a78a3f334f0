"""How long labels take, told from cohorts that are still too young to have all of theirs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    ends = {bucket: lower_bound(bucket + 1) - 1 for cohort in cohorts for bucket in cohort.delays}
    at: Counter[int] = Counter()
    at_most: Counter[int] = Counter()
    for cohort in cohorts:
        shown = sorted(bucket for bucket in ends if ends[bucket] < cohort.age)
        total = 0
        for bucket in shown:
            count = cohort.delays.get(bucket, 0)
            total += count
            at[bucket] += count
            at_most[bucket] += total
    found, remaining = None, 1.0
    for bucket in sorted((bucket for bucket in at if at[bucket] > 0), reverse=True):
        if remaining < q * (1 - 1e-12):  # rounded, where it is q
            break
        found = ends[bucket]
        remaining *= 1.0 - at[bucket] / at_most[bucket]
    return found
