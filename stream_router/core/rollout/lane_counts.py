"""What R.evidence has counted of one lane in one rollout, as far as windows are still kept."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Final

from stream_router.core.deciding.windows import Windows
from stream_router.core.evidence import Tally
from stream_router.core.lane import CANARY, LANES, STABLE, Lane
from stream_router.core.routing.applied_split import Versions

_RECENT: Final = 5
"""Windows back to which another version counts as one that still answers."""

_EVER: Final = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneCounts:
    """Sums over the windows of the rollout's own version; a lane that is bound to none takes any.

    `foreign` counts the predictions of other versions in the newest windows.
    """

    predicted: int
    errors: int
    late: int
    labelled: int
    correct: int
    foreign: Counter[str]
    _windows: Windows
    _of: tuple[int, Lane, str | None]

    @property
    def of_any_version(self) -> int:
        """Predictions."""
        return self.predicted + self.foreign.total()

    def until(self, window: int) -> tuple[int, int]:
        """Predictions and labels of the windows that started then or before."""
        sums = self._windows.sums(*self._of, until=window)
        return sums.predicted, sums.labelled

    def newest(self, ended_by: int) -> Iterator[tuple[int, Tally]]:
        """Start and counts of the windows that had ended by then, newest first."""
        return ((key.window, tally) for key, tally in self._windows.of(*self._of, ended_by))

    def with_labels(self) -> Iterator[Tally]:
        """The counts of windows that have labels, newest first."""
        return self._windows.with_labels(*self._of)


def counts_of(windows: Windows, rollout: int, versions: Versions) -> dict[Lane, LaneCounts]:
    """Of both lanes."""
    bound = {STABLE: versions.stable, CANARY: versions.canary}
    recent = _recent(windows, rollout)
    counts: dict[Lane, LaneCounts] = {}
    for lane in LANES:
        of = rollout, lane, bound[lane]
        foreign = Counter[str]()
        for key, tally in windows.of(rollout, lane, None, _EVER):
            if key.window < recent:
                break
            if bound[lane] not in (None, key.model_version):
                foreign[key.model_version] += tally.predicted
        counts[lane] = LaneCounts(**windows.sums(*of)._asdict(), foreign=foreign, _windows=windows, _of=of)
    return counts


def _recent(windows: Windows, rollout: int) -> int:
    """The start of the oldest of the newest windows of both lanes."""
    starts: set[int] = set()
    for lane in LANES:
        by_window = groupby(windows.of(rollout, lane, None, _EVER), lambda one: one[0].window)
        starts.update(start for start, _ in islice(by_window, _RECENT))
    return min(sorted(starts)[-_RECENT:], default=0)
