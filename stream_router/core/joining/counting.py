"""Who is counted together, and what came to be counted since it was last said."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_router.core.evidence import BadDelays, Count, Flags, Integers

PREDICTED: Final = 0
ERRORS: Final = 1
LATE: Final = 2
CORRECT: Final = 3
INCORRECT: Final = 4
"""A label that had agreed was revised."""
REVISED: Final = 5
DELAYS: Final = 6
"""In buckets, as the three below; each is one labelled prediction, too."""
LATENCIES: Final = 7
MODEL_LATENCIES: Final = 8
BAD_DELAYS: Final = 9

_BUCKETS: Final = 512
"""More than the histogram has."""
_WHATS: Final = 1 << 13
_MANY: Final = 1 << 20
"""Changes that are added up before more are taken in."""


class Cell(NamedTuple):
    """Predictions that have all this in common are counted together; `window` is its start, ms since the epoch."""

    window: int
    epoch: int
    digest: str
    rollout: int
    lane: str
    model_version: str


class Cells:
    """Cells by number."""

    def __init__(self, cells: Iterable[Cell] = ()) -> None:
        self._cells = list(cells)
        self._numbers = {cell: number for number, cell in enumerate(self._cells)}

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, number: int) -> Cell:
        return self._cells[number]

    def __iter__(self) -> Iterator[Cell]:
        return iter(self._cells)

    def number(self, cell: Cell) -> int:
        """Its number, the next one if it is not there."""
        number = self._numbers.setdefault(cell, len(self._cells))
        if number == len(self._cells):
            self._cells.append(cell)
        return number

    def only(self, numbers: Integers) -> "Cells":
        """These alone, numbered in this order."""
        return Cells(self._cells[number] for number in numbers.tolist())

    def state(self) -> npt.NDArray[np.uint8]:
        """For `restored`."""
        return np.frombuffer(json.dumps(self._cells).encode(), np.uint8)

    @classmethod
    def restored(cls, state: npt.NDArray[np.uint8]) -> "Cells":
        """What gave the state."""
        return cls(Cell(*cell) for cell in json.loads(state.tobytes()))


class Changes:
    """Changes of counts: an integer each, made of a cell's number, what changed, and a bucket."""

    def __init__(self) -> None:
        self._new: list[Integers] = []
        self._new_count = 0
        self._total: Counter[int] = Counter()

    def note(self, what: int, cells: Integers, chosen: Flags | None = None, buckets: Integers | int = 0) -> None:
        """One change in each of the cells, or in the chosen: shape (n,) each."""
        keys = cells * _WHATS + (what * _BUCKETS + buckets)
        keys = keys if chosen is None else keys[chosen]
        self._new.append(keys)
        self._new_count += len(keys)
        if self._new_count >= _MANY:
            self._add_up()

    def take(self, cells: Cells) -> tuple[list[Count], list[BadDelays]]:
        """All since the last call. Epochs of one rollout count together: a Count a window, rollout, lane, version."""
        self._add_up()
        groups: dict[tuple[int, int, str, str], dict[int, dict[int, int]]] = {}
        bad_delays: dict[int, dict[int, int]] = {}
        now, window, group = -1, 0, dict[int, dict[int, int]]()
        for key in sorted(self._total):
            number, what, bucket = key // _WHATS, key % _WHATS // _BUCKETS, key % _BUCKETS
            if number != now:
                now, cell = number, cells[number]
                window = cell.window
                group = groups.setdefault((window, cell.rollout, cell.lane, cell.model_version), {})
            found = bad_delays.setdefault(window, {}) if what == BAD_DELAYS else group.setdefault(what, {})
            found[bucket] = found.get(bucket, 0) + self._total[key]
        self._total = Counter()
        counts = [_count(*names, changed) for names, changed in groups.items()]
        return counts, [BadDelays(window, delays) for window, delays in bad_delays.items()]

    def _add_up(self) -> None:
        if self._new:
            keys, counts = np.unique(np.concatenate(self._new), return_counts=True)
            self._total.update(dict(zip(keys.tolist(), counts.tolist(), strict=True)))
        self._new, self._new_count = [], 0


def _count(window: int, rollout: int, lane: str, model_version: str, changed: Mapping[int, Mapping[int, int]]) -> Count:
    """What changed, bucket by bucket; where there are none it is in bucket 0."""
    nothing: Mapping[int, int] = {}
    delays = changed.get(DELAYS, nothing)
    number = [changed[what][0] if what in changed else 0 for what in range(DELAYS)]
    return Count(
        window=window,
        rollout=rollout,
        lane=lane,
        model_version=model_version,
        predicted=number[PREDICTED],
        errors=number[ERRORS],
        late=number[LATE],
        labelled=sum(delays.values()),
        correct=number[CORRECT] - number[INCORRECT],
        revised=number[REVISED],
        delays=delays,
        latencies=changed.get(LATENCIES, nothing),
        model_latencies=changed.get(MODEL_LATENCIES, nothing),
    )
