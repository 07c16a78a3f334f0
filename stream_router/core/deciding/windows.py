"""Windowed accuracy, folded from count deltas: at any time what a batch recount of the topics would give."""

import heapq
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from stream_router.core.deciding.last_known import LabelledWindow, LastKnown
from stream_router.core.deciding.ripeness import ENOUGH, QUANTILE
from stream_router.core.deciding.window_sums import Series, Sums, WindowSums, sums_of, together
from stream_router.core.evidence import Count, Tally
from stream_router.core.histogram import quantile
from stream_router.core.policy import Policy

_COUNTS: Final = ("predicted", "errors", "late", "labelled", "correct", "revised")
_HISTOGRAMS: Final = ("delays", "latencies", "model_latencies")


class WindowKey(NamedTuple):
    window: int
    rollout: int
    lane: str
    model_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowedAccuracy:
    """One record of R.windowed-accuracy; fields and units as in schemas/windowed_accuracy."""

    window_start: int
    window_end: int
    rollout: int
    lane: str
    model_version: str
    predicted: int
    errors: int
    late: int
    labelled: int
    correct: int
    revised: int
    error_rate: float | None
    accuracy: float | None
    coverage: float | None
    label_delay_p50: int | None
    label_delay_p98: int | None
    latency_p50: int | None
    latency_p99: int | None
    model_latency_p50: int | None
    model_latency_p99: int | None

    @property
    def key(self) -> WindowKey:
        """Window, rollout, lane and model version; of the records of one key the newest counts."""
        return WindowKey(self.window_start, self.rollout, self.lane, self.model_version)


class Windows:
    """Counts of every window that can still change.

    Retention: until the join has forgotten the window's rows, by the watermarks of every partition; of labels longer,
    as LastKnown says.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._counts: dict[WindowKey, Tally] = {}
        self._starts: dict[Series, list[int]] = {}
        """The starts of its windows, in order."""
        self._sums = WindowSums(policy.window)
        self._last_known = LastKnown()
        self._changed: dict[WindowKey, WindowedAccuracy | None] = {}
        """What has not been taken yet; with its last state where it has been forgotten."""
        self._first_offsets: dict[int, int] = {}
        self._forgotten_until: int | None = None
        self.late = 0
        """Deltas of windows that had been forgotten, left out: a partial count would replace the whole one."""

    def add(self, offset: int, counts: Iterable[Count]) -> None:
        """Fold the deltas of the record at `offset`."""
        for count in counts:
            if self._forgotten_until is not None and count.window <= self._forgotten_until:
                self.late += 1
                continue
            key = WindowKey(count.window, count.rollout, count.lane, count.model_version)
            if key not in self._counts:
                self._counts[key] = Tally()
                insort(self._starts.setdefault(key[1:], []), key.window)
            self._counts[key].add(count)
            self._sums.add(key[1:], key.window, count)
            self._first_offsets.setdefault(count.window, offset)
            self._changed[key] = None

    def take_changed(self) -> tuple[WindowedAccuracy, ...]:
        """The newest state of each window that has changed since it was last taken, in the order of first changes."""
        changed, self._changed = self._changed, {}
        return tuple(last or self[key] for key, last in changed.items())

    def drop_changed(self) -> None:
        """What has changed so far is not to be taken: it was published by another."""
        self._changed.clear()

    def forget(self, watermark: int) -> None:
        """Forget what cannot change once every partition's evidence is complete until `watermark`."""
        until = self._policy.window_start(watermark - self._policy.kept_for - self._policy.window)
        if self._forgotten_until is not None and until <= self._forgotten_until:
            return
        self._forgotten_until = until
        for key in sorted(key for key in self._counts if key.window <= until):
            if key in self._changed:
                self._changed[key] = self[key]
            counts = self._counts.pop(key)
            self._sums.add(key[1:], key.window, counts, -1)
            if counts.labelled > 0:
                self._last_known.add(self._labelled(key, counts), key.lane, key.model_version)
        for window in [window for window in self._first_offsets if window <= until]:
            del self._first_offsets[window]
        for series, starts in list(self._starts.items()):
            del starts[: bisect_right(starts, until)]
            if not starts:
                del self._starts[series]

    def of(self, rollout: int, lane: str, version: str | None, ended_by: int) -> Iterator[tuple[WindowKey, Tally]]:
        """Counts of the windows that had ended by then, newest first; version None is any.

        Windows that have been forgotten are not among them.
        """
        series = self._series(rollout, lane, version)
        return ((key, self._counts[key]) for key in self._newest_first(series, ended_by))

    def sums(self, rollout: int, lane: str, version: str | None, until: int | None = None) -> Sums:
        """Of all windows that are kept, or of those that started at `until` or before; version None is any."""
        series = self._series(rollout, lane, version)
        if until is None:
            return together(map(self._sums.total, series))
        parts = []
        for one in series:
            before, first = self._sums.until(one, until)
            parts += [before, *(sums_of(tally) for _, tally in self._between(one, first, until + 1))]
        return together(parts)

    def with_labels(self, rollout: int, lane: str, version: str | None) -> Iterator[Tally]:
        """Counts of the windows that have labels, newest first; None is any version."""

        def walk(one: Series) -> Iterator[tuple[int, Tally]]:
            for first, end in self._sums.labelled(one):
                yield from (found for found in self._between(one, first, end) if found[1].labelled)

        series = map(walk, self._series(rollout, lane, version))
        return (tally for _, tally in heapq.merge(*series, key=lambda found: found[0], reverse=True))

    def labelled(
        self, lane: str, version: str | None, ended_by: int, *, rollout: int | None = None
    ) -> Iterator[LabelledWindow]:
        """Windows with labels that had ended by then, newest first, with those remembered; None is any."""
        series = [
            key for key in self._starts if key[1] == lane and version in (None, key[2]) and rollout in (None, key[0])
        ]
        for key in self._newest_first(series, ended_by):
            if self._counts[key].labelled > 0:
                yield self._labelled(key, self._counts[key])
        last = self._last_known.newest_first(lane, version)
        yield from (one for one in last if rollout in (None, one.rollout) and one.window + self._length <= ended_by)

    def state(self) -> dict[str, Any]:
        """For a snapshot at a moment at which no change waits to be taken."""
        tallies = list(self._counts.values())
        return {
            "forgotten_until": self._forgotten_until,
            "late": self.late,
            "first_offsets": np.array(list(self._first_offsets.items()), np.int64).reshape(-1, 2),
            "last_known": self._last_known.state(),
            "keys": [list(key) for key in self._counts],
            "counts": np.array([[getattr(tally, name) for name in _COUNTS] for tally in tallies], np.int64),
            "histograms": {
                name: np.array(
                    [
                        (number, *entry)
                        for number, tally in enumerate(tallies)
                        for entry in getattr(tally, name).items()
                    ],
                    np.int32,
                ).reshape(-1, 3)
                for name in _HISTOGRAMS
            },
        }

    @classmethod
    def restored(cls, policy: Policy, state: Mapping[str, Any]) -> "Windows":
        """Raises LookupError, TypeError or ValueError where the state is none."""
        windows = cls(policy)
        windows._forgotten_until, windows.late = state["forgotten_until"], state["late"]
        windows._first_offsets = dict(state["first_offsets"].tolist())
        windows._last_known = LastKnown.restored(state["last_known"])
        tallies = [Tally(**dict(zip(_COUNTS, row, strict=True))) for row in state["counts"].tolist()]
        windows._counts = dict(zip((WindowKey(*key) for key in state["keys"]), tallies, strict=True))
        for key in windows._counts:
            insort(windows._starts.setdefault(key[1:], []), key.window)
            windows._sums.add(key[1:], key.window, windows._counts[key])
        for name in _HISTOGRAMS:
            for number, bucket, count in state["histograms"][name].tolist():
                getattr(tallies[number], name)[bucket] = count
        return windows

    @property
    def first_offset(self) -> int | None:
        """Offset of the first record of any window that can still change."""
        return min(self._first_offsets.values(), default=None)

    def label_delay(self, complete_until: int) -> int | None:
        """The 98 % quantile of all labels' delays in windows that lack none by then; None where these have too few."""
        delays = Counter[int]()
        for key, tally in self._counts.items():
            if key.window + self._policy.matures_after <= complete_until:
                delays.update(tally.delays)
        return quantile(delays, QUANTILE) if delays.total() >= ENOUGH else None

    def start_of(self, routed_at: int) -> int:
        """The start of the window that a time belongs to."""
        return self._policy.window_start(routed_at)

    def tallies(self) -> Iterable[tuple[WindowKey, Tally]]:
        """The counts as they stand, to be read and not changed."""
        return self._counts.items()

    def __iter__(self) -> Iterator[WindowedAccuracy]:
        return (self[key] for key in self._counts)

    def __getitem__(self, key: WindowKey) -> WindowedAccuracy:
        """Raises KeyError for a window never seen or forgotten."""
        counts = self._counts[key]
        return WindowedAccuracy(
            window_start=key.window,
            window_end=key.window + self._length,
            rollout=key.rollout,
            lane=key.lane,
            model_version=key.model_version,
            predicted=counts.predicted,
            errors=counts.errors,
            late=counts.late,
            labelled=counts.labelled,
            correct=counts.correct,
            revised=counts.revised,
            error_rate=counts.errors / counts.predicted if counts.predicted else None,
            accuracy=counts.correct / counts.labelled if counts.labelled else None,
            coverage=counts.labelled / counts.predicted if counts.predicted else None,
            label_delay_p50=quantile(counts.delays, 0.5),
            label_delay_p98=quantile(counts.delays, 0.98),
            latency_p50=quantile(counts.latencies, 0.5),
            latency_p99=quantile(counts.latencies, 0.99),
            model_latency_p50=quantile(counts.model_latencies, 0.5),
            model_latency_p99=quantile(counts.model_latencies, 0.99),
        )

    def labels_from(self, lane: str) -> int | None:
        """The offset from which a replay counts every label of the lane that `labelled` tells of; None: from here."""
        offsets = (self.first_offset, self._last_known.first_offset(lane))
        return min((offset for offset in offsets if offset is not None), default=None)

    def _series(self, rollout: int, lane: str, version: str | None) -> list[Series]:
        return [one for one in self._starts if one[:2] == (rollout, lane) and version in (None, one[2])]

    def _between(self, series: Series, first: int, end: int) -> Iterator[tuple[int, Tally]]:
        """Start and counts of the windows that started in [first, end), newest first."""
        starts = self._starts[series]
        for at in range(bisect_left(starts, end) - 1, bisect_left(starts, first) - 1, -1):
            yield starts[at], self._counts[WindowKey(starts[at], *series)]

    def _labelled(self, key: WindowKey, counts: Tally) -> LabelledWindow:
        first = self._first_offsets[key.window]
        return LabelledWindow(key.window, key.rollout, counts.labelled, counts.correct, first)

    @property
    def _length(self) -> int:
        return self._policy.window

    def _newest_first(self, series: Iterable[Series], ended_by: int) -> Iterator[WindowKey]:
        def walk(one: Series) -> Iterator[WindowKey]:
            starts = self._starts[one]
            return (
                WindowKey(starts[at], *one) for at in range(bisect_right(starts, ended_by - self._length) - 1, -1, -1)
            )

        return heapq.merge(*map(walk, series), reverse=True)
