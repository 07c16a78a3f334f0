"""The last known accuracy of each model version: what its forgotten windows said."""

import heapq
from bisect import insort
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from stream_router.core.policy import REMEMBERED_LABELS

MAX_WINDOWS: Final = 1_440
MAX_VERSIONS: Final = 8


class LabelledWindow(NamedTuple):
    """A window with labels: its start, in milliseconds since the epoch, its rollout, how many labels and hits.

    first_offset: of the first record of R.evidence that counted in it.
    """

    window: int
    rollout: int
    labelled: int
    correct: int
    first_offset: int = 0


class LastKnown:
    """What stable's accuracy last was is wanted even where it has had no request for days: canary has them all.

    Retention: of each lane the 8 versions that were heard of last, of each version its newest windows, as many as
    have 10,000 labels, at most 1,440.
    """

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], list[LabelledWindow]] = {}
        """By lane and version, oldest first."""

    def add(self, window: LabelledWindow, lane: str, version: str) -> None:
        windows = self._windows.setdefault((lane, version), [])
        insort(windows, window)
        spare = sum(one.labelled for one in windows) - REMEMBERED_LABELS
        while spare >= windows[0].labelled or len(windows) > MAX_WINDOWS:
            spare -= windows.pop(0).labelled
        versions = [place for place in self._windows if place[0] == lane]
        if len(versions) > MAX_VERSIONS:
            del self._windows[min(versions, key=lambda place: (self._windows[place][-1], place))]

    def newest_first(self, lane: str, version: str | None) -> Iterator[LabelledWindow]:
        """Of any version where it is None."""
        series = [
            windows for place, windows in self._windows.items() if place[0] == lane and version in (None, place[1])
        ]
        return heapq.merge(*map(reversed, series), reverse=True)

    def first_offset(self, lane: str) -> int | None:
        """The offset from which on all is counted that is remembered of the lane."""
        places = (windows for place, windows in self._windows.items() if place[0] == lane)
        return min((window.first_offset for windows in places for window in windows), default=None)

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return {
            "places": [list(place) for place in self._windows],
            "windows": [np.array(windows, np.int64) for windows in self._windows.values()],
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "LastKnown":
        """Raises LookupError, TypeError or ValueError where the state is none."""
        last_known = cls()
        for (lane, version), windows in zip(state["places"], state["windows"], strict=True):
            last_known._windows[lane, version] = [LabelledWindow(*window) for window in windows.tolist()]
        return last_known
