"""Labels that wait for their prediction, which may come after them."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_router.core.evidence import Flags, Integers
from stream_router.core.joining.expiry import Expiry
from stream_router.core.joining.hashes import turns
from stream_router.core.joining.table import NO_ROW, Keys, Table
from stream_router.core.joining.values import Values, same

MAX_WAITING: Final = 64
"""Labels of one id that may wait: a search goes through them one by one."""

_NEW: Final = 1
_EXPIRED: Final = 2

_COLUMNS: Final = {
    "offset": np.int64,
    "time": np.int64,
    "value_kind": np.uint8,
    "value": np.int64,
    "flags": np.uint8,
    "place": np.uint8,
}


class LabelColumns(NamedTuple):
    """Labels in columns of shape (n,); `new`: whether a predecessor has not read them."""

    offset: Integers
    time: Integers
    said: Values
    new: Flags

    def part(self, chosen: Integers | Flags) -> "LabelColumns":
        return LabelColumns(self.offset[chosen], self.time[chosen], self.said.part(chosen), self.new[chosen])


class WaitingLabels:
    """At most `limit`, and MAX_WAITING of one id, by the hash of the id, in the order of their offsets.

    `deadline`: a label that says the same again in the same whole deadline (ms) is the same label. `width`: of the
    buckets in which they are forgotten, ms. Numbers of labels here are NO_ROW where there is none.
    """

    def __init__(self, *, limit: int, deadline: int, width: int) -> None:
        self._limit, self._deadline = limit, max(1, deadline)
        self._table, self._expiry = Table(_COLUMNS), Expiry(width)

    def __len__(self) -> int:
        return len(self._table)

    def oldest(self, keys: Keys) -> Integers:
        """The label of each id that was read first."""
        return self._table.find(keys) if len(self) else np.full(len(keys), NO_ROW)

    def next(self, labels: Integers) -> Integers:
        """The next label of the same id."""
        return self._table.next(labels)

    def said(self) -> Values:
        """What all of them say."""
        labels = self._table.all_rows()
        return Values(self._table["value_kind"][labels], self._table["value"][labels])

    def columns(self, labels: Integers) -> LabelColumns:
        table = self._table
        said = Values(table["value_kind"][labels], table["value"][labels])
        return LabelColumns(table["offset"][labels], table["time"][labels], said, table["flags"][labels] & _NEW > 0)

    def add(self, keys: Keys, labels: LabelColumns, expired: Flags) -> tuple[Flags, Flags]:
        """Labels that no row took; `expired`: there was one. Which of them are repeats, and which find no place."""
        again, refused = self._repeats(keys, labels), np.zeros(len(keys), np.bool_)
        left = np.flatnonzero(~again)
        turn = turns(keys[left])
        refused[left[turn > MAX_WAITING]] = True
        for number in range(min(MAX_WAITING, int(turn.max(initial=-1))) + 1):
            part = left[turn == number]
            newest = self._newest(keys[part])
            known = newest != NO_ROW
            again[part[known]] = self._says_again(self.columns(newest[known]), labels.part(part[known]))
            fresh = ~again[part]
            part, newest = part[fresh], newest[fresh]
            found = self._insert(keys[part], labels.part(part), newest, expired[part])
            refused[part[~found]] = True
        return again, refused

    def _repeats(self, keys: Keys, labels: LabelColumns) -> Flags:
        """Which labels say again what the one before them says: whatever becomes of that one, these are the same."""
        repeats = np.zeros(len(keys), np.bool_)
        order = np.argsort(keys[:, 1], kind="stable")
        pairs = np.flatnonzero(keys[order[1:], 1] == keys[order[:-1], 1])
        before, after = order[pairs], order[pairs + 1]
        repeats[after] = self._says_again(labels.part(before), labels.part(after))
        return repeats

    def _says_again(self, before: LabelColumns, after: LabelColumns) -> Flags:
        again: Flags = same(before.said, after.said)
        again &= before.time <= after.time
        again &= before.time // self._deadline == after.time // self._deadline
        return again

    def _newest(self, keys: Keys) -> Integers:
        """The label of each id that was read last."""
        newest = self.oldest(keys)
        there = newest != NO_ROW
        newest[there] = self._table.newest(newest[there])
        return newest

    def _insert(self, keys: Keys, labels: LabelColumns, newest: Integers, expired: Flags) -> Flags:
        """Labels of different ids, behind the newest of each; False for each that finds no place."""
        waiting = newest != NO_ROW
        place = np.zeros(len(keys), np.uint8)
        place[waiting] = self._table["place"][newest[waiting]] + 1
        chosen = np.flatnonzero(place < MAX_WAITING)[: max(0, self._limit - len(self))]
        offset, time, said, new = labels.part(chosen)
        columns: dict[str, npt.NDArray[Any]] = {
            "offset": offset,
            "time": time,
            "value_kind": said.kind,
            "value": said.bits,
            "flags": (_NEW * new + _EXPIRED * expired[chosen]).astype(np.uint8),
            "place": place[chosen],
        }
        self._table.insert(keys[chosen], columns)
        self._expiry.note_labels(time, offset)
        found = np.zeros(len(keys), np.bool_)
        found[chosen] = True
        return found

    def mark_expired(self, labels: Integers) -> Flags:
        """There was a row, and they did not fit it; True where that is news."""
        flags = self._table["flags"]
        news: Flags = flags[labels] & _EXPIRED == 0
        flags[labels] |= _EXPIRED
        return news

    def remove(self, labels: Integers) -> None:
        """They have found their prediction."""
        self._table.remove(labels)

    def expire(self, before: int) -> int:
        """Forget those older than the time, ms since the epoch; how many of them never saw a row of their id."""
        bound = self._expiry.expire(before)
        if bound is None:
            return 0
        labels = self._table.where("time", bound)
        orphans = int(np.count_nonzero(self._table["flags"][labels] & _EXPIRED == 0))
        self._table.remove(labels)
        return orphans

    def lowest(self) -> int:
        """Lowest offset of those that wait; NO_OFFSET where none does."""
        return self._expiry.lowest()[1]

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays for `restore`."""
        return {"early.expiry": self._expiry.state(), **self._table.state("early.")}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """What `state` gave, of which nothing is new, into an empty one."""
        self._expiry.restore(state["early.expiry"])
        self._table.restore("early.", state)
        self._table["flags"][self._table.all_rows()] &= 255 - _NEW
