"""A histogram of whole milliseconds: 0 to 7 exact, above each power of two has 8 buckets (1 part in 8)."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt


def bucket_of(milliseconds: int) -> int:
    """Number of the bucket; negative durations count as 0."""
    value = max(0, milliseconds)
    if value < 8:  # noqa: PLR2004 - the exact buckets
        return value
    power = value.bit_length() - 4
    return power * 8 + (value >> power)


def buckets_of(milliseconds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Number of the bucket of each, all below 2^53: shape (n,)."""
    values = np.maximum(milliseconds, 0)
    _, bits = np.frexp(values.astype(np.float64))
    powers = np.maximum(bits - 4, 0).astype(np.int64)
    buckets: npt.NDArray[np.int64] = powers * 8 + (values >> powers)
    return buckets


def lower_bound(bucket: int) -> int:
    """Smallest number of milliseconds that falls into the bucket."""
    if bucket < 8:  # noqa: PLR2004 - the exact buckets
        return bucket
    power = bucket // 8 - 1
    return (8 + bucket % 8) << power


def quantile(counts: Mapping[int, int], q: float) -> int | None:
    """Upper end, in milliseconds, of the bucket in which the quantile 0 < q <= 1 lies; None without observations."""
    total = sum(counts.values())
    if total <= 0:
        return None
    reached = 0
    for bucket in sorted(counts):
        reached += counts[bucket]
        if reached >= q * total:
            return lower_bound(bucket + 1) - 1
    return None
