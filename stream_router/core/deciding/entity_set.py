"""A set of 64-bit hashes in one array, which takes many at once."""

from typing import Final

import numpy as np

from stream_router.core.evidence import Flags, Integers

_FREE: Final = np.int64(0)
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
_LEAST_BITS: Final = 6


class EntitySet:
    """Open addressing with linear probing, half full at most: 16 to 32 bytes a hash."""

    def __init__(self) -> None:
        self._bits, self._size = _LEAST_BITS, 0
        self._table: Integers = np.zeros(1 << self._bits, np.int64)
        self._has_free = False
        """Whether the hash that marks a free place is in the set."""

    def add(self, hashes: Integers) -> Flags:
        """Which of the hashes, of shape (n,), were not in the set and stand for the first time; all then are in it."""
        distinct, first = np.unique(hashes, return_index=True)
        is_new = np.zeros(len(hashes), np.bool_)
        is_new[first[self._insert(distinct)]] = True
        return is_new

    @property
    def hashes(self) -> Integers:
        """All, in any order."""
        held = self._table[self._table != _FREE]
        return np.append(held, _FREE) if self._has_free else held

    def __len__(self) -> int:
        return self._size

    def _insert(self, distinct: Integers) -> Flags:
        """Which were new."""
        self._grow_for(len(distinct))
        is_new = self._place(distinct, distinct != _FREE)
        at_free = np.flatnonzero(distinct == _FREE)
        if len(at_free):
            is_new[at_free], self._has_free = not self._has_free, True
        self._size += int(np.count_nonzero(is_new))
        return is_new

    def _place(self, distinct: Integers, chosen: Flags) -> Flags:
        table, is_new = self._table, np.zeros(len(distinct), np.bool_)
        last = np.int64(len(table) - 1)
        place = ((distinct.view(np.uint64) * _SPREAD) >> np.uint64(64 - self._bits)).view(np.int64)
        left = np.flatnonzero(chosen)
        while len(left):
            found = table[place[left]]
            free = found == _FREE
            claims = left[free]
            table[place[claims]] = distinct[claims]  # of several that claim one place, one stays
            wins = table[place[claims]] == distinct[claims]
            is_new[claims[wins]] = True
            left = np.concatenate((left[~free & (found != distinct[left])], claims[~wins]))
            place[left] = (place[left] + 1) & last
        return is_new

    def _grow_for(self, more: int) -> None:
        bits = max(self._bits, (2 * (self._size + more) - 1).bit_length())
        if bits > self._bits:
            held = self._table[self._table != _FREE]
            self._bits, self._table = bits, np.zeros(1 << bits, np.int64)
            self._place(held, held != _FREE)
