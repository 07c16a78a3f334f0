"""Outcomes as rows of one array: what the test reads of them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_router.core.evidence import OutcomeKey, Outcomes

ROW: Final = np.dtype([("entity", "<i8"), ("order", "<i8"), ("time", "<i8"), ("bad", "?"), ("value", "<f8")])
"""Fields as those of Outcomes; an outcome of which only the value is known is not bad, one without a value has NaN."""

Rows = npt.NDArray[np.void]
_LEAST: Final = 8


class Batch(NamedTuple):
    """Outcomes of one key from one input partition; `rows` has the type ROW and shape (n,)."""

    partition: int
    key: OutcomeKey
    rows: Rows


def rows_of(outcomes: Outcomes) -> Rows:
    """In order."""
    rows = np.empty(len(outcomes), ROW)
    rows["entity"], rows["order"], rows["time"] = outcomes.entity, outcomes.order, outcomes.time
    rows["bad"] = False if outcomes.bad is None else outcomes.bad
    rows["value"] = np.nan if outcomes.value is None else outcomes.value
    return rows


def none() -> Rows:
    return np.empty(0, ROW)


def together(parts: Sequence[Rows]) -> Rows:
    """One after the other, copied; numpy's own function compares the fields of each part first."""
    rows = np.empty(sum(map(len, parts)), ROW)
    start = 0
    for part in parts:
        rows[start : start + len(part)] = part
        start += len(part)
    return rows


class Pool:
    """Outcomes that wait, by partition, window and key; those of one key in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: dict[int, dict[int, dict[OutcomeKey, _Growing]]] = {}
        self._size = 0

    def add(self, batch: Batch) -> None:
        windows = self._waiting.setdefault(batch.partition, {})
        keys = windows.setdefault(batch.key.window, {})
        if batch.key not in keys:
            keys[batch.key] = _Growing()
        keys[batch.key].add(batch.rows)
        self._size += len(batch.rows)

    def take_until(self, partition: int, window: int, kind: str | None = None) -> list[Batch]:
        """Those of the partition in windows that began at `window`, in milliseconds, or before; they wait no longer.

        All of them, or those of one kind.
        """
        windows = self._waiting.get(partition, {})
        starts = [start for start in windows if start <= window]
        if kind is None:
            taken = [
                Batch(partition, key, growing.rows) for start in starts for key, growing in windows.pop(start).items()
            ]
            return self._taken(taken)
        keys = [key for start in starts for key in windows[start] if key.metric == kind]
        return self._remove([Batch(partition, key, windows[key.window][key].rows) for key in keys])

    def take(self, is_chosen: Callable[[OutcomeKey], bool]) -> list[Batch]:
        """Those of the chosen keys; they wait no longer."""
        return self._remove([batch for batch in self if is_chosen(batch.key)])

    def __iter__(self) -> Iterator[Batch]:
        for partition, windows in self._waiting.items():
            for keys in windows.values():
                for key, growing in keys.items():
                    yield Batch(partition, key, growing.rows)

    def __len__(self) -> int:
        """Outcomes that wait."""
        return self._size

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        batches = list(self)
        rows = [batch.rows for batch in batches]
        return {
            "places": [[batch.partition, *batch.key] for batch in batches],
            "lengths": [len(some) for some in rows],
            "rows": together(rows),
        }

    @classmethod
    def restored(cls, state: dict[str, Any]) -> "Pool":
        """Raises LookupError, TypeError or ValueError where the state is none."""
        pool, start, rows = cls(), 0, np.asarray(state["rows"], ROW)
        for (partition, *key), length in zip(state["places"], state["lengths"], strict=True):
            pool.add(Batch(partition, OutcomeKey(*key), rows[start : start + length]))
            start += length
        return pool

    def _remove(self, batches: list[Batch]) -> list[Batch]:
        for partition, key, _ in batches:
            windows = self._waiting[partition]
            del windows[key.window][key]
            if not windows[key.window]:
                del windows[key.window]
        return self._taken(batches)

    def _taken(self, batches: list[Batch]) -> list[Batch]:
        self._size -= sum(len(batch.rows) for batch in batches)
        return batches


class _Growing:
    """Rows to which more are added in amortised constant time."""

    def __init__(self) -> None:
        self._held, self._size = np.empty(0, ROW), 0

    def add(self, rows: Rows) -> None:
        size = self._size + len(rows)
        if size > len(self._held):
            held = np.empty(max(_LEAST, size + size // 4), ROW)
            held[: self._size] = self._held[: self._size]
            self._held = held
        self._held[self._size : size] = rows
        self._size = size

    @property
    def rows(self) -> Rows:
        return self._held[: self._size]
