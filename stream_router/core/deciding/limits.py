"""Absolute limits: what canary may not pass, whatever stable shows. No statistics, and so no alpha is spent."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import groupby, islice
from typing import Final, NamedTuple, TypeVar

from stream_router.core.deciding.last_known import LabelledWindow
from stream_router.core.deciding.verdict import named
from stream_router.core.deciding.windows import WindowKey, Windows
from stream_router.core.evidence import RolloutStarted, Tally
from stream_router.core.histogram import bucket_of, lower_bound, quantile
from stream_router.core.lane import CANARY, STABLE
from stream_router.core.policy import Limit, LimitName

_One = TypeVar("_One")

_BURST: Final = 2
"""Neighbouring windows that what happens once, and for less than a window, lies in at most."""

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


class _Part(NamedTuple):
    """What counts among how many: of one window, or of several together."""

    found: int
    of: int

    @property
    def ratio(self) -> Fraction:
        return Fraction(self.found, self.of)


@dataclass(frozen=True, slots=True)
class _Looked:
    """What a limit has looked at: a part of each of canary's newest windows, newest first.

    beyond: whether a part passes the limit. told: what all parts together are, in words. against: what they are held
    against, in words, where they pass it.
    """

    limit: Limit
    parts: Sequence[_Part]
    beyond: Callable[[_Part], bool]
    told: Callable[[_Part], str]
    against: str
    of_what: str = "predictions"
    stable_lacks: str | None = None

    @property
    def total(self) -> _Part:
        return _sum(self.parts)

    @property
    def lacks(self) -> str | None:
        """What is missing for the limit to say anything, in words."""
        limit, number = self.limit, len(self.parts)
        if number < limit.windows or self.total.of < limit.predictions:
            windows = (
                f"the last {_counted(number)}" if number == limit.windows else f"{number} of {limit.windows} windows"
            )
            return f"{self.total.of:,} of {limit.predictions:,} {self.of_what} in {windows}"
        return self.stable_lacks

    @property
    def is_broken(self) -> bool:
        """Whether all windows together are beyond it, and still are without what happened only once."""
        if self.lacks is not None or not self.beyond(self.total):
            return False
        number, total = len(self.parts), self.total
        left_out = min(_BURST, number - 1)
        bursts = (_sum(self.parts[first : first + left_out]) for first in range(number - left_out + 1))
        return all(self.beyond(_Part(total.found - burst.found, total.of - burst.of)) for burst in bursts)


class Limits:
    """Those of one started rollout. They hold nothing: the same windows give the same answer.

    A window counts once nothing that belongs to it is missing, by the evidence of every partition: errors come before
    the answers that take longer, so rates of predictions wait for prediction_deadline after the window's end; of
    accuracies the labels of the one kind of answers may be the slower ones, so these wait for `started.label_age`.
    """

    def __init__(self, started: RolloutStarted) -> None:
        self._limits = started.policy.limits
        self._rollout = started.rollout
        self._versions = started.versions
        self._answered_after = started.policy.prediction_deadline
        self._labelled_after = started.labelled_after

    def broken(self, windows: Windows, complete_until: int) -> Broken | None:
        """The first limit, in the policy's order, that the newest windows of canary have passed.

        `complete_until`: the oldest of the partitions' newest watermarks, milliseconds since the epoch.
        """
        for looked in self._looked_at(windows, complete_until):
            if looked.is_broken:
                canary, told = named(CANARY, self._versions), looked.told(looked.total)
                return Broken(looked.limit, f"{canary} breaks its limit: {told} {looked.against}")
        return None

    def told(self, windows: Windows, complete_until: int) -> tuple[str, ...]:
        """What each limit sees, a sentence each."""
        return tuple(
            f"limit {one.limit.metric}: "
            + (f"says nothing with {one.lacks}" if one.lacks is not None else one.told(one.total))
            for one in self._looked_at(windows, complete_until)
        )

    def _looked_at(self, windows: Windows, complete_until: int) -> Iterator[_Looked]:
        for limit in self._limits:
            if limit.metric == "error_rate":
                yield self._errors(limit, windows, complete_until - self._answered_after)
            elif limit.metric in _LATENCIES:
                yield self._latency(limit, windows, complete_until - self._answered_after)
            elif limit.metric in ("accuracy", "accuracy_drop"):
                yield self._accuracy(limit, windows, complete_until - self._labelled_after)
            # else of a later version

    def _errors(self, limit: Limit, windows: Windows, ended_by: int) -> _Looked:
        parts = self._canary(limit, windows, ended_by, lambda tally: _Part(tally.errors, tally.predicted))
        return _Looked(
            limit,
            parts,
            beyond=lambda part: part.ratio > _exact(limit.bound),
            told=lambda part: f"error rate {_ratio(part, 'requests', len(parts))}",
            against=f"is above {_percent(limit.bound)}",
        )

    def _latency(self, limit: Limit, windows: Windows, ended_by: int) -> _Looked:
        """By the lower ends of buckets, which what is in them is surely not below."""
        histogram, q = _LATENCIES[limit.metric]
        total: Counter[int] = Counter()

        def slow(tally: Tally) -> _Part:
            counts: Counter[int] = getattr(tally, histogram)
            total.update(counts)
            above = sum(number for bucket, number in counts.items() if lower_bound(bucket) / 1000 > limit.bound)
            return _Part(above, counts.total())

        parts = self._canary(limit, windows, ended_by, slow)

        def told(part: _Part) -> str:
            least = lower_bound(bucket_of(quantile(total, q) or 0)) / 1000
            name = "model latency" if histogram == "model_latencies" else "latency"
            rests_on = f"{part.of:,} requests in {_counted(len(parts))}"
            return f"p{round(q * 100)} of {name}, at least {least:g} s ({rests_on}),"

        return _Looked(
            limit,
            parts,
            beyond=lambda part: part.of - part.found < q * part.of,
            told=told,
            against=f"is above {limit.bound:g} s",
        )

    def _accuracy(self, limit: Limit, windows: Windows, ended_by: int) -> _Looked:
        """Of the newest windows with labels."""
        found = windows.labelled(CANARY, self._versions.canary, ended_by, rollout=self._rollout)
        parts = list(map(_labels, islice(_by_window(found, lambda one: one.window), limit.windows)))

        def told(part: _Part) -> str:
            return f"accuracy {_ratio(part, 'labels', len(parts))}"

        if limit.metric == "accuracy":
            return _Looked(
                limit,
                parts,
                beyond=lambda part: part.ratio < _exact(limit.bound),
                told=told,
                against=f"is below {_percent(limit.bound)}",
                of_what="labels",
            )
        taken = self._stable(limit, windows, ended_by)
        stable, name = _sum(taken), named(STABLE, self._versions)
        is_known = stable.of >= limit.predictions
        total = _sum(parts)
        points = 100 * float(stable.ratio - total.ratio) if stable.of and total.of else 0.0
        return _Looked(
            limit,
            parts,
            beyond=lambda part: stable.ratio - part.ratio > _exact(limit.bound),
            told=told,
            against=f"is {points:.1f} points below the last known of {name}, {_ratio(stable, 'labels', len(taken))}, "
            f"which is above {100 * limit.bound:g} points"
            if is_known
            else "",
            of_what="labels",
            stable_lacks=None if is_known else f"{stable.of:,} of {limit.predictions:,} labels of {name}",
        )

    def _stable(self, limit: Limit, windows: Windows, ended_by: int) -> list[_Part]:
        """Of as many windows as of canary's, or more where these have too few labels: of any rollout and any age."""
        taken: list[_Part] = []
        for window in _by_window(windows.labelled(STABLE, self._versions.stable, ended_by), lambda one: one.window):
            taken.append(_labels(window))
            if len(taken) >= limit.windows and _sum(taken).of >= limit.predictions:
                break
        return taken

    def _canary(self, limit: Limit, windows: Windows, ended_by: int, part_of: Callable[[Tally], _Part]) -> list[_Part]:
        """Of the newest windows that have any."""
        found = windows.of(self._rollout, CANARY, self._versions.canary, ended_by)
        parts = (_sum(part_of(counts) for _, counts in together) for together in _by_window(found, _window_of))
        return list(islice((part for part in parts if part.of > 0), limit.windows))


def _window_of(found: tuple[WindowKey, Tally]) -> int:
    return found[0].window


def _by_window(found: Iterable[_One], window_of: Callable[[_One], int]) -> Iterator[list[_One]]:
    """What belongs to the same window together: several versions and rollouts may have had a part of one."""
    return (list(together) for _, together in groupby(found, window_of))


def _labels(together: Iterable[LabelledWindow]) -> _Part:
    return _sum(_Part(one.correct, one.labelled) for one in together)


def _sum(parts: Iterable[_Part]) -> _Part:
    taken = list(parts)
    return _Part(sum(part.found for part in taken), sum(part.of for part in taken))


@lru_cache
def _exact(bound: float) -> Fraction:
    """The decimal number that a person wrote: 0.9 - 0.85 is no more than 0.05."""
    return Fraction(repr(bound))


def _ratio(part: _Part, of_what: str, windows: int) -> str:
    share = f"{100 * part.found / part.of:.1f} %"
    return f"{share} ({part.found} of {part.of} {of_what} in {_counted(windows)})"


def _percent(ratio: float) -> str:
    return f"{100 * ratio:g} %"


def _counted(windows: int) -> str:
    return f"{windows} window{'s' if windows != 1 else ''}"
