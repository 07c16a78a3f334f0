"""Absolute limits: what canary may not pass, whatever stable shows. No statistics, and so no alpha is spent."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import groupby, islice
from typing import Final, NamedTuple, TypeVar

from stream_router.core.deciding.last_known import LabelledWindow
from stream_router.core.deciding.windows import Windows
from stream_router.core.evidence import Tally
from stream_router.core.histogram import bucket_of, lower_bound, quantile
from stream_router.core.lane import CANARY, STABLE
from stream_router.core.policy import Limit, LimitName, Policy
from stream_router.core.routing.applied_split import Versions

_One = TypeVar("_One")

_LATENCIES: Final[dict[LimitName, tuple[str, float]]] = {
    "latency_p50": ("latencies", 0.5),
    "latency_p99": ("latencies", 0.99),
    "model_latency_p50": ("model_latencies", 0.5),
    "model_latency_p99": ("model_latencies", 0.99),
}
"""Which histogram of a window, and which quantile of it."""


class Broken(NamedTuple):
    """A limit that canary has passed, and one sentence with its numbers."""

    limit: Limit
    sentence: str


@dataclass(frozen=True, slots=True)
class _Labels:
    """Labels of some windows."""

    correct: int
    labelled: int
    windows: int

    @property
    def accuracy(self) -> Fraction:
        return Fraction(self.correct, self.labelled)

    def __str__(self) -> str:
        return _ratio(self.correct, self.labelled, "labels", self.windows)


class Limits:
    """Those of one rollout's policy. They hold nothing: the same windows give the same answer.

    A window counts once it has ended and the evidence of every partition is complete until then; where accuracy is
    limited `ripe_after` milliseconds later, as answers that are labelled slowly may be the wrong ones.
    """

    def __init__(self, policy: Policy, rollout: int, versions: Versions, *, ripe_after: int) -> None:
        self._limits = policy.limits
        self._rollout = rollout
        self._versions = versions
        self._ripe_after = ripe_after

    def broken(self, windows: Windows, complete_until: int) -> Broken | None:
        """The first limit, in the policy's order, that the newest windows of canary have passed.

        `complete_until`: the oldest of the partitions' newest watermarks, milliseconds since the epoch.
        """
        for limit in self._limits:
            if limit.metric == "error_rate":
                said = self._errors(limit, windows, complete_until)
            elif limit.metric in _LATENCIES:
                said = self._latency(limit, windows, complete_until)
            elif limit.metric in ("accuracy", "accuracy_drop"):
                said = self._accuracy(limit, windows, complete_until - self._ripe_after)
            else:  # of a later version
                said = None
            if said:
                return Broken(limit, f"{_named(CANARY, self._versions.canary)} breaks its limit: {said}")
        return None

    def _errors(self, limit: Limit, windows: Windows, ended_by: int) -> str | None:
        found, over = self._canary(limit, windows, ended_by)
        predicted, errors = sum(counts.predicted for counts in found), sum(counts.errors for counts in found)
        if predicted < limit.predictions or Fraction(errors, predicted) <= _exact(limit.bound):
            return None
        return f"error rate {_ratio(errors, predicted, 'requests', over)} is above {_percent(limit.bound)}"

    def _latency(self, limit: Limit, windows: Windows, ended_by: int) -> str | None:
        """By the lower end of the quantile's bucket, which the quantile itself is surely not below."""
        found, over = self._canary(limit, windows, ended_by)
        histogram, q = _LATENCIES[limit.metric]
        total: Counter[int] = Counter()
        for counts in found:
            total.update(getattr(counts, histogram))
        n, upper = total.total(), quantile(total, q)
        if upper is None or n < limit.predictions:
            return None
        least = lower_bound(bucket_of(upper)) / 1000
        if least <= limit.bound:
            return None
        name = "model latency" if histogram == "model_latencies" else "latency"
        rests_on = f"{n} requests in {_counted(over)}"
        return f"p{round(q * 100)} of {name}, at least {least:g} s ({rests_on}), is above {limit.bound:g} s"

    def _accuracy(self, limit: Limit, windows: Windows, ripe_by: int) -> str | None:
        """Of the newest windows with labels."""
        found = windows.labelled(CANARY, self._versions.canary, ripe_by, rollout=self._rollout)
        canary = _labels(islice(_by_window(found, lambda one: one.window), limit.windows))
        if canary.labelled < limit.predictions:
            return None
        if limit.metric == "accuracy":
            if canary.accuracy >= _exact(limit.bound):
                return None
            return f"accuracy {canary} is below {_percent(limit.bound)}"
        stable = self._stable(limit, windows, ripe_by)
        if stable is None:
            return None
        drop = stable.accuracy - canary.accuracy
        if drop <= _exact(limit.bound):
            return None
        return (
            f"accuracy {canary} is {100 * float(drop):.1f} points below the last known of "
            f"{_named(STABLE, self._versions.stable)}, {stable}, which is above {100 * limit.bound:g} points"
        )

    def _stable(self, limit: Limit, windows: Windows, ripe_by: int) -> _Labels | None:
        """Of as many windows as of canary's, or more where these have too few labels: of any rollout and any age."""
        taken: list[list[LabelledWindow]] = []
        labelled = 0
        for window in _by_window(windows.labelled(STABLE, self._versions.stable, ripe_by), lambda one: one.window):
            taken.append(window)
            labelled += sum(one.labelled for one in window)
            if len(taken) >= limit.windows and labelled >= limit.predictions:
                break
        return _labels(taken) if labelled >= limit.predictions else None

    def _canary(self, limit: Limit, windows: Windows, ended_by: int) -> tuple[list[Tally], int]:
        """The counts of the newest windows, and how many windows these are."""
        found = windows.of(self._rollout, CANARY, self._versions.canary, ended_by)
        newest = list(islice(_by_window(found, lambda one: one[0].window), limit.windows))
        return [counts for window in newest for _, counts in window], len(newest)


def _by_window(found: Iterable[_One], window_of: Callable[[_One], int]) -> Iterator[list[_One]]:
    """What belongs to the same window together: several versions and rollouts may have had a part of one."""
    return (list(together) for _, together in groupby(found, window_of))


def _labels(windows: Iterable[list[LabelledWindow]]) -> _Labels:
    taken = list(windows)
    return _Labels(
        correct=sum(one.correct for window in taken for one in window),
        labelled=sum(one.labelled for window in taken for one in window),
        windows=len(taken),
    )


@lru_cache
def _exact(bound: float) -> Fraction:
    """The decimal number that a person wrote: 0.9 - 0.85 is no more than 0.05."""
    return Fraction(repr(bound))


def _named(lane: str, version: str | None) -> str:
    return f"{lane} {version or '(any version)'}"


def _ratio(part: int, whole: int, of_what: str, windows: int) -> str:
    return f"{100 * part / whole:.1f} % ({part} of {whole} {of_what} in {_counted(windows)})"


def _percent(ratio: float) -> str:
    return f"{100 * ratio:g} %"


def _counted(windows: int) -> str:
    return f"{windows} window{'s' if windows != 1 else ''}"
