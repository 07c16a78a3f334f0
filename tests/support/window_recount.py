"""R.windowed-accuracy once more, from a recount of the topics and without the fold."""

from collections.abc import Mapping

import numpy as np
from support.recount import COUNTED, Recount

from stream_router.core.deciding.windows import WindowedAccuracy, WindowKey
from stream_router.core.histogram import lower_bound
from stream_router.core.policy import Policy


def windows_of(found: Recount, policy: Policy) -> dict[WindowKey, WindowedAccuracy]:
    """What the newest record of each key has to say."""
    return {WindowKey(*key): _window(WindowKey(*key), found, policy) for key in found.counts}


def _window(key: WindowKey, found: Recount, policy: Policy) -> WindowedAccuracy:
    counts = dict(zip(COUNTED, found.counts[tuple(key)], strict=True))

    def quantile(histogram: str, q: float) -> int | None:
        return _quantile(found.histograms.get((tuple(key), histogram), {}), q)

    def ratio(part: str, whole: str) -> float | None:
        return counts[part] / counts[whole] if counts[whole] else None

    return WindowedAccuracy(
        window_start=key.window,
        window_end=key.window + policy.window,
        rollout=key.rollout,
        lane=key.lane,
        model_version=key.model_version,
        **counts,
        error_rate=ratio("errors", "predicted"),
        accuracy=ratio("correct", "labelled"),
        coverage=ratio("labelled", "predicted"),
        label_delay_p50=quantile("delays", 0.5),
        label_delay_p98=quantile("delays", 0.98),
        latency_p50=quantile("latencies", 0.5),
        latency_p99=quantile("latencies", 0.99),
        model_latency_p50=quantile("model_latencies", 0.5),
        model_latency_p99=quantile("model_latencies", 0.99),
    )


def _quantile(histogram: Mapping[int, int], q: float) -> int | None:
    """The upper end of the bucket of the quantile of all durations, one by one."""
    buckets = np.repeat(sorted(histogram), [histogram[bucket] for bucket in sorted(histogram)])
    if not len(buckets):
        return None
    return lower_bound(int(np.quantile(buckets, q, method="inverted_cdf")) + 1) - 1
