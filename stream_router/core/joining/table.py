"""A multi-map from 128-bit keys to rows of fixed columns, in numpy: some thousand keys at a time, no object a row."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream_router.core.evidence import Flags, Integers

Keys = npt.NDArray[np.uint64]
"""Shape (n, 2): high and low half of each key; keys are hashes, the lower half chooses the place."""

NO_ROW: Final = -1
_FREE: Final = -2
_EMPTY: Final = -1
_REMOVED: Final = -2

_SPARSE: Final = 0.4
_FULL: Final = 0.6
"""Shares of the index in use: after it has been built anew, and when it must be. Between them lies growth by 1.5."""

_SMALLEST: Final = 1024

_RESTORED: Final = 100_000
"""Rows at a time."""


class Table:
    """Rows of one key are chained, oldest first. Row numbers stay as they are until the row is removed.

    An open-addressing index of row numbers with linear probing. A removed row leaves a mark in the index, which goes
    when the index is built anew, and its number is used again. Memory a row: 20 bytes, the columns, and 7 to 10 bytes
    of index; no more than one column is held twice while the table grows. Not thread-safe.
    """

    def __init__(self, columns: Mapping[str, npt.DTypeLike]) -> None:
        self._columns: dict[str, npt.NDArray[Any]] = {
            name: np.empty(_SMALLEST, dtype) for name, dtype in columns.items()
        }
        self._keys: Keys = np.empty((_SMALLEST, 2), np.uint64)
        self._next = np.empty(_SMALLEST, np.int32)
        self._index = np.full(_SMALLEST, _EMPTY, np.int32)
        self._marks = 0
        self._heads = 0
        self._top = 0
        self._freed = np.empty(0, np.int32)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, column: str) -> npt.NDArray[Any]:
        """The column by row number, to read and to write; another array after an insert. Raises KeyError."""
        return self._columns[column]

    def keys(self, rows: Integers) -> Keys:
        """Shape (n, 2)."""
        return self._keys[rows]

    def find(self, keys: Keys) -> Integers:
        """The oldest row of each key, or NO_ROW."""
        slots = self._slots(keys)
        rows = self._index[slots].astype(np.int64)
        rows[slots < 0] = NO_ROW
        return rows

    def next(self, rows: Integers) -> Integers:
        """The next younger row of the same key for each row, or NO_ROW."""
        return self._next[rows].astype(np.int64)

    def newest(self, rows: Integers) -> Integers:
        """The youngest row of the same key for each row."""
        newest = rows.copy()
        going = np.flatnonzero((later := self._next[rows]) >= 0)
        while going.size:
            newest[going] = later[going]
            later = self._next[newest]
            going = going[later[going] >= 0]
        return newest

    def insert(self, keys: Keys, columns: Mapping[str, npt.ArrayLike]) -> Integers:
        """A new row for each key, whether the key is there or not; equal keys in their order. Returns the rows."""
        rows = self._allocate(len(keys))
        self._keys[rows] = keys
        self._next[rows] = NO_ROW
        for name, column in self._columns.items():
            column[rows] = columns[name]
        self._length += len(rows)
        if self._heads + self._marks + len(rows) > _FULL * len(self._index):
            self._build(len(rows))
        self._link(rows)
        return rows

    def remove(self, rows: Integers) -> None:
        """Remove rows, each of them there and named once."""
        if not len(rows):
            return
        slots = self._slots(self._keys[rows])
        alone = (self._index[slots] == rows) & (self._next[rows] == NO_ROW)
        self._index[slots[alone]] = _REMOVED
        self._marks += int(np.count_nonzero(alone))
        self._heads -= int(np.count_nonzero(alone))
        if not alone.all():
            self._unlink(rows[~alone], np.unique(slots[~alone]))
        self._next[rows] = _FREE
        self._length -= len(rows)
        self._freed = np.concatenate([self._freed, rows.astype(np.int32)])

    def where(self, column: str, below: int) -> Integers:
        """The rows whose column is below the bound."""
        chosen = self._columns[column][: self._top] < below
        chosen &= self._next[: self._top] != _FREE
        return np.flatnonzero(chosen)

    def between(self, column: str, first: int, last: int) -> Integers:
        """The rows whose column is at least `first` and below `last`."""
        values = self._columns[column][: self._top]
        chosen = values >= first
        chosen &= values < last
        chosen &= self._next[: self._top] != _FREE
        return np.flatnonzero(chosen)

    def all_rows(self) -> Integers:
        """Every row; those of one key oldest first."""
        level = self._index[self._index >= 0].astype(np.int64)
        levels = [level]
        while level.size:
            level = self.next(level)
            level = level[level != NO_ROW]
            levels.append(level)
        return np.concatenate(levels)

    def state(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """Keys and columns of all rows under their names, for `restore`."""
        rows = self.all_rows()
        columns = {f"{prefix}{name}": column[rows] for name, column in self._columns.items()}
        return {f"{prefix}key": self._keys[rows], **columns}

    def restore(self, prefix: str, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """The rows that `state` gave, into an empty table of the same columns."""
        keys = state[f"{prefix}key"]
        columns = {name: state[f"{prefix}{name}"] for name in self._columns}
        order = np.argsort(keys[:, 0], kind="stable")  # in that of the index one place would fill before the others
        for first in range(0, len(keys), _RESTORED):
            part = order[first : first + _RESTORED]
            self.insert(keys[part], {name: column[part] for name, column in columns.items()})

    def _home(self, low: npt.NDArray[np.uint64]) -> Integers:
        """Where the search for each key begins: its lower half as a fraction of the index."""
        place = low >> np.uint64(32)
        place *= np.uint64(len(self._index))
        place >>= np.uint64(32)
        return place.view(np.int64)

    def _slots(self, keys: Keys) -> Integers:
        """The place of each key in the index, or -1."""
        found = np.full(len(keys), -1, np.int64)
        going, slots, high, low = np.arange(len(keys)), self._home(keys[:, 1]), keys[:, 0], keys[:, 1]
        while going.size:
            rows = self._index[slots]
            here = self._keys[rows]  # of a row below 0 some other key, never looked at
            right = (here[:, 0] == high) & (here[:, 1] == low) & (rows >= 0)
            found[going[right]] = slots[right]
            on = np.flatnonzero((rows != _EMPTY) & ~right)
            going, high, low = going[on], high[on], low[on]
            slots = self._after(slots[on])
        return found

    def _after(self, slots: Integers) -> Integers:
        slots = slots + 1
        slots[slots == len(self._index)] = 0
        return slots

    def _allocate(self, number: int) -> Integers:
        """Numbers for new rows, those of removed rows first."""
        again = min(number, len(self._freed))
        rows = np.empty(number, np.int64)
        rows[:again] = self._freed[len(self._freed) - again :]
        self._freed = self._freed[: len(self._freed) - again]
        top = self._top + number - again
        rows[again:] = np.arange(self._top, top)
        if top > len(self._next):
            self._grow(max(top, len(self._next) * 3 // 2))
        self._top = top
        return rows

    def _grow(self, capacity: int) -> None:
        """One array after the other; memory beyond the rows is not touched, so it costs nothing yet."""
        self._keys = _longer(self._keys, capacity, self._top)
        self._next = _longer(self._next, capacity, self._top)
        for name in self._columns:
            self._columns[name] = _longer(self._columns[name], capacity, self._top)

    def _build(self, more: int) -> None:
        """The index anew, without marks and with room for more keys."""
        heads = self._index[self._index >= 0]
        self._index = np.empty(0, np.int32)
        self._index = np.full(max(_SMALLEST, int((len(heads) + more) / _SPARSE)), _EMPTY, np.int32)
        self._marks = 0
        packed = self._home(self._keys[heads, 1])
        packed <<= 32
        packed |= heads
        packed.sort()
        heads = (packed & 0xFFFFFFFF).astype(np.int32)
        packed >>= 32  # now homes; each row gets its home, or the place right behind the one before
        number = np.arange(len(heads))
        packed -= number
        np.maximum.accumulate(packed, out=packed)
        packed += number
        inside = int(np.searchsorted(packed, len(self._index)))
        self._index[packed[:inside]] = heads[:inside]
        self._heads = inside
        self._link(heads[inside:].astype(np.int64))

    def _link(self, rows: Integers) -> None:
        """Enter rows into the index, or behind the rows of their key."""
        keys = self._keys[rows]
        going, slots, high, low = rows, self._home(keys[:, 1]), keys[:, 0], keys[:, 1]
        while going.size:
            there = self._index[slots]
            empty = there == _EMPTY
            if empty.any():
                self._index[slots[empty][::-1]] = going[empty][::-1]  # of equals the first remains
                there = self._index[slots]
            mine = there == going
            self._heads += int(np.count_nonzero(mine))
            here = self._keys[there]
            same = (here[:, 0] == high) & (here[:, 1] == low) & (there >= 0) & ~mine
            if same.any():
                self._append(there[same].astype(np.int64), going[same])
            on = np.flatnonzero(~(mine | same))
            going, high, low = going[on], high[on], low[on]
            slots = self._after(slots[on])

    def _append(self, heads: Integers, rows: Integers) -> None:
        """Each row behind the newest of its head's key; several rows of one key in their order."""
        while rows.size:
            newest = self.newest(heads)
            self._next[newest[::-1]] = rows[::-1]
            lost = self._next[newest] != rows
            heads, rows = newest[lost], rows[lost]

    def _unlink(self, rows: Integers, slots: Integers) -> None:
        """Take rows out of the chains that begin at the slots."""
        gone: Flags = np.zeros(self._top + 1, np.bool_)  # NO_ROW, the last, is never gone
        gone[rows] = True
        heads = self._passing(self._index[slots].astype(np.int64), gone)
        self._index[slots] = np.where(heads == NO_ROW, _REMOVED, heads)
        emptied = int(np.count_nonzero(heads == NO_ROW))
        self._marks += emptied
        self._heads -= emptied
        kept = heads[heads != NO_ROW]
        while kept.size:
            later = self._passing(self.next(kept), gone)
            self._next[kept] = later
            kept = later[later != NO_ROW]

    def _passing(self, rows: Integers, gone: Flags) -> Integers:
        """Each row, or the first of those behind it that is not gone."""
        rows = rows.copy()
        while (on := np.flatnonzero(gone[rows])).size:
            rows[on] = self._next[rows[on]]
        return rows


def _longer(array: npt.NDArray[Any], capacity: int, used: int) -> npt.NDArray[Any]:
    longer = np.empty((capacity, *array.shape[1:]), array.dtype)
    longer[:used] = array[:used]
    return longer
