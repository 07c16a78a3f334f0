"""Windowed accuracy, folded from count deltas: at any time what a batch recount of the topics would give."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from stream_router.core.evidence import Count, Tally
from stream_router.core.histogram import quantile
from stream_router.core.policy import Policy


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
    labelled: int
    correct: int
    revised: int
    accuracy: float | None
    coverage: float | None
    label_delay_p50: int | None
    label_delay_p98: int | None
    latency_p50: int | None
    latency_p99: int | None

    @property
    def key(self) -> WindowKey:
        """Window, rollout, lane and model version; of the records of one key the newest counts."""
        return WindowKey(self.window_start, self.rollout, self.lane, self.model_version)


class Windows:
    """Counts of every window that can still change.

    Retention: until the join has forgotten the window's rows, by the watermarks of every partition.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._counts: dict[WindowKey, Tally] = {}
        self._first_offsets: dict[int, int] = {}
        self._forgotten_until: int | None = None
        self.late = 0
        """Deltas of windows that had been forgotten, left out: a partial count would replace the whole one."""

    def add(self, offset: int, counts: Iterable[Count]) -> tuple[WindowKey, ...]:
        """Fold the deltas of the record at `offset`; returns the keys that changed, each once, as they appear."""
        changed: dict[WindowKey, None] = {}
        for count in counts:
            if self._forgotten_until is not None and count.window <= self._forgotten_until:
                self.late += 1
                continue
            key = WindowKey(count.window, count.rollout, count.lane, count.model_version)
            if key not in self._counts:
                self._counts[key] = Tally()
            self._counts[key].add(count)
            self._first_offsets.setdefault(count.window, offset)
            changed[key] = None
        return tuple(changed)

    def forget(self, watermark: int) -> None:
        """Forget what cannot change once every partition's evidence is complete until `watermark`."""
        until = self._policy.window_start(watermark - self._policy.kept_for - self._policy.window)
        if self._forgotten_until is not None and until <= self._forgotten_until:
            return
        self._forgotten_until = until
        for window in [window for window in self._first_offsets if window <= until]:
            del self._first_offsets[window]
        for key in [key for key in self._counts if key.window <= until]:
            del self._counts[key]

    @property
    def first_offset(self) -> int | None:
        """Offset of the first record of any window that can still change."""
        return min(self._first_offsets.values(), default=None)

    def __iter__(self) -> Iterator[WindowedAccuracy]:
        return (self[key] for key in self._counts)

    def __getitem__(self, key: WindowKey) -> WindowedAccuracy:
        """Raises KeyError for a window never seen or forgotten."""
        counts = self._counts[key]
        return WindowedAccuracy(
            window_start=key.window,
            window_end=key.window + self._policy.window,
            rollout=key.rollout,
            lane=key.lane,
            model_version=key.model_version,
            predicted=counts.predicted,
            errors=counts.errors,
            labelled=counts.labelled,
            correct=counts.correct,
            revised=counts.revised,
            accuracy=counts.correct / counts.labelled if counts.labelled else None,
            coverage=counts.labelled / counts.predicted if counts.predicted else None,
            label_delay_p50=quantile(counts.delays, 0.5),
            label_delay_p98=quantile(counts.delays, 0.98),
            latency_p50=quantile(counts.latencies, 0.5),
            latency_p99=quantile(counts.latencies, 0.99),
        )
