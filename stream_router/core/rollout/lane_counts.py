"""What R.evidence has counted of one lane in one rollout, as far as windows are still kept."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from stream_router.core.deciding.windows import Windows
from stream_router.core.evidence import Tally
from stream_router.core.lane import CANARY, LANES, STABLE, Lane
from stream_router.core.routing.applied_split import Versions

_RECENT: Final = 5
"""Windows back to which another version counts as one that still answers."""


@dataclass(slots=True)
class LaneCounts:
    """Sums over the windows of the rollout's own version; `windows` are the counts themselves, by the window's start.

    `foreign` counts the predictions of other versions in the newest windows.
    """

    predicted: int = 0
    errors: int = 0
    late: int = 0
    labelled: int = 0
    correct: int = 0
    windows: dict[int, list[Tally]] = field(default_factory=dict)
    foreign: Counter[str] = field(default_factory=Counter)

    def add(self, window: int, tally: Tally) -> None:
        self.predicted += tally.predicted
        self.errors += tally.errors
        self.late += tally.late
        self.labelled += tally.labelled
        self.correct += tally.correct
        self.windows.setdefault(window, []).append(tally)

    @property
    def of_any_version(self) -> int:
        """Predictions."""
        return self.predicted + self.foreign.total()


def counts_of(windows: Windows, rollout: int, versions: Versions) -> dict[Lane, LaneCounts]:
    """Of both lanes; a lane that the rollout binds to no version takes any."""
    counts = {lane: LaneCounts() for lane in LANES}
    of: dict[str, LaneCounts] = dict(counts.items())
    bound: dict[str, str | None] = {STABLE: versions.stable, CANARY: versions.canary}
    ours = [(key, tally) for key, tally in windows.tallies() if key.rollout == rollout and key.lane in of]
    recent = _recent(key.window for key, _ in ours)
    for key, tally in ours:
        if bound[key.lane] in (None, key.model_version):
            of[key.lane].add(key.window, tally)
        elif key.window >= recent:
            of[key.lane].foreign[key.model_version] += tally.predicted
    return counts


def _recent(starts: Iterable[int]) -> int:
    """The start of the oldest of the newest windows."""
    newest = sorted(set(starts))[-_RECENT:]
    return newest[0] if newest else 0
