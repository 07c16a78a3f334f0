"""The rows of the join: one per request within the horizon, with what was predicted and what its labels said.

Which requests are one, and which labels belong to a row, is decided here by their times: the laws stand in join.py.
Places of rows are numbers, as `Table` has them, and NO_ROW.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_router.core.evidence import Doubles, Flags, Integers
from stream_router.core.histogram import buckets_of, lower_bound
from stream_router.core.joining.expiry import Expiry
from stream_router.core.joining.hashes import order_of
from stream_router.core.joining.new_outcomes import Requests
from stream_router.core.joining.table import NO_ROW, Keys, Table
from stream_router.core.joining.values import NOTHING, Values, same
from stream_router.core.joining.waiting_labels import LabelColumns
from stream_router.core.policy import Policy

Columns = Mapping[str, npt.NDArray[Any]]

_NEW: Final = 1
_IS_LATE: Final = 2
_IS_REVISED: Final = 4

_ROW: Final = {
    "cell": np.int32,
    "routed_at": np.int64,
    "oldest_label": np.int64,
    "entity": np.int64,
    "value_kind": np.uint8,
    "value": np.int64,
    "label_kind": np.uint8,
    "label": np.int64,
    "delay": np.uint16,
    "flags": np.uint8,
}
"""`delay`: of the first label, as a bucket of a histogram."""

_DELAYS: Final = np.array([lower_bound(bucket) for bucket in range(512)], np.float64)
"""Of each bucket."""


class Labelled(NamedTuple):
    """n labels that were put into rows, by row and in the order of their offsets; shape (n,) each.

    said: in the words in which it was said first; before: what the row's newest label said. first, again: whether it is
    the row's first one, or says the same as the newest. new: whether label or row is.
    """

    rows: Integers
    labels: LabelColumns
    said: Values
    before: Values
    first: Flags
    again: Flags
    new: Flags


class HeldRows:
    """Rows are forgotten by `expire`, `width` milliseconds of them at a time."""

    def __init__(self, policy: Policy, width: int) -> None:
        self._policy = policy
        self._table, self._expiry = Table(_ROW), Expiry(width)

    def __len__(self) -> int:
        return len(self._table)

    def columns(self, requests: Requests, scored_at: Integers, values: Values, new: Flags) -> Columns:
        """Of rows to be entered, without labels."""
        number = len(requests.cell)
        return {
            "cell": requests.cell,
            "routed_at": requests.routed_at,
            "oldest_label": self.oldest_label(scored_at),
            "entity": requests.entity,
            "value_kind": values.kind,
            "value": values.bits,
            "label_kind": np.full(number, NOTHING, np.uint8),
            "label": np.zeros(number, np.int64),
            "delay": np.zeros(number, np.uint16),
            "flags": (_NEW * new + _IS_LATE * requests.late).astype(np.uint8),
        }

    def find(self, keys: Keys) -> Integers:
        """The oldest row of each id."""
        return self._table.find(keys)

    def beside(self, keys: Keys, routed_at: Integers) -> tuple[Flags, Integers]:
        """Whether each prediction is the same request as a row of its id, and of those that are not how many rows."""
        table = self._table
        rows = table.find(keys)
        duplicate, held = np.zeros(len(keys), np.bool_), np.zeros(len(keys), np.int64)
        going = np.flatnonzero(rows != NO_ROW)
        rows = rows[going]
        while going.size:
            held[going] += 1
            near = self.is_near(table["routed_at"][rows], routed_at[going])
            duplicate[going[near]] = True
            rows = table.next(rows)
            on = (rows != NO_ROW) & ~near
            going, rows = going[on], rows[on]
        return duplicate, held

    def is_near(self, one: Integers, other: Integers) -> Flags:
        """Whether two routings of one id are of one request."""
        near: Flags = np.abs(one - other) <= self._policy.prediction_deadline
        return near

    def enter(self, keys: Keys, offsets: Integers, columns: Columns) -> Integers:
        """New rows, all of different ids."""
        self._expiry.note_predictions(columns["routed_at"], offsets)
        return self._table.insert(keys, columns)

    def first_fitting(self, heads: Integers, times: Integers) -> Integers:
        """Of the rows from each head on the first whose interval contains the time, or NO_ROW."""
        found = np.full(len(heads), NO_ROW)
        going = np.flatnonzero(heads != NO_ROW)
        rows = heads[going]
        while going.size:
            fits = self.fits(rows, times[going])
            found[going[fits]] = rows[fits]
            rows = self._table.next(rows)
            on = (rows != NO_ROW) & ~fits
            going, rows = going[on], rows[on]
        return found

    def fits(self, rows: Integers, times: Integers) -> Flags:
        """Whether each row's interval contains the time of a label."""
        routed_at = self._table["routed_at"][rows]
        fits: Flags = (self._table["oldest_label"][rows] <= times) & (times <= self.newest_label(routed_at))
        return fits

    def oldest_label(self, scored_at: Integers) -> Integers:
        """The earliest time of a label that counts for each prediction."""
        deadline = max(1, self._policy.prediction_deadline)
        oldest: Integers = (scored_at - self._policy.reach) // deadline * deadline
        return oldest

    def newest_label(self, routed_at: Integers) -> Integers:
        """The latest time of a label that counts for each routing."""
        newest: Integers = routed_at - routed_at % self._policy.window + self._policy.matures_after
        return newest

    def label(self, rows: Integers, labels: LabelColumns) -> Labelled:
        """Labels, each with the row that it belongs to."""
        table = self._table
        order = np.argsort(rows, kind="stable")
        rows, labels = rows[order], labels.part(order)
        held = Values(table["label_kind"][rows], table["label"][rows])
        follows = np.concatenate([[False], rows[1:] == rows[:-1]])
        before = _before(labels.said, follows, held)
        first = before.kind == NOTHING
        again = ~first & same(before, labels.said)
        said = labels.said
        if again.any():
            said = _first_said(said, again, follows, held)
            before = _before(said, follows, held)
        table["label_kind"][rows], table["label"][rows] = said  # of several the last remains
        routed_at = table["routed_at"][rows]
        self._expiry.note_labels(routed_at[first], labels.offset[first])
        table["delay"][rows[first]] = buckets_of(np.maximum(labels.time - routed_at, 0)[first])
        table["flags"][rows[~first & ~again]] |= _IS_REVISED
        return Labelled(rows, labels, said, before, first, again, labels.new | self.is_new(rows))

    def is_new(self, rows: Integers) -> Flags:
        """Whether no predecessor has read each row's prediction."""
        new: Flags = self._table["flags"][rows] & _NEW > 0
        return new

    def requests(self, rows: Integers) -> Requests:
        """What is said of each row's request."""
        table = self._table
        order, late = order_of(table.keys(rows)), table["flags"][rows] & _IS_LATE > 0
        cells = table["cell"][rows].astype(np.int64)
        return Requests(cells, table["entity"][rows], order, table["routed_at"][rows], late)

    def predicted(self, rows: Integers) -> Values:
        """What each row's prediction is."""
        return Values(self._table["value_kind"][rows], self._table["value"][rows])

    def labelled(self, rows: Integers) -> tuple[Flags, Doubles]:
        """Whether each row was labelled otherwise later on, and the delay of its first label in ms, NaN without one."""
        delay = _DELAYS[self._table["delay"][rows]]
        delay[self._table["label_kind"][rows] == NOTHING] = np.nan
        return self._table["flags"][rows] & _IS_REVISED > 0, delay

    def said(self) -> tuple[Values, Values]:
        """All that predictions and labels of rows are."""
        rows = self._table.all_rows()
        return self.predicted(rows), Values(self._table["label_kind"][rows], self._table["label"][rows])

    def between(self, first: int, last: int) -> Integers:
        """The rows that were routed in [first, last), ms since the epoch."""
        return self._table.between("routed_at", first, last)

    def expire(self, before: int) -> None:
        """Forget what was routed before the time, ms since the epoch, or some of it later."""
        bound = self._expiry.expire(before)
        if bound is not None:
            self._table.remove(self._table.where("routed_at", bound))

    def lowest(self) -> tuple[int, int]:
        """The lowest offsets of a prediction and of a label that a row rests on."""
        return self._expiry.lowest()

    def renumber_cells(self) -> Integers:
        """The cells of rows, in order, which are known by their places there from now on."""
        rows = self._table.all_rows()
        used, numbers = np.unique(self._table["cell"][rows], return_inverse=True)
        self._table["cell"][rows] = numbers
        return used

    def state(self) -> Columns:
        """Arrays, for `restore`."""
        return {"row.expiry": self._expiry.state(), **self._table.state("row.")}

    def restore(self, state: Columns) -> None:
        """What `state` gave, into an empty one of the same width; nothing of it is new."""
        self._expiry.restore(state["row.expiry"])
        self._table.restore("row.", state)
        self._table["flags"][self._table.all_rows()] &= 255 - _NEW


def _before(said: Values, follows: Flags, held: Values) -> Values:
    """What stood before each label: the one before it, where that is of the same row, else what the row held."""
    return said.part(np.arange(-1, len(follows) - 1)).where(follows, held) if follows.any() else held


def _first_said(said: Values, again: Flags, follows: Flags, held: Values) -> Values:
    """What each label says, in the words in which it was said first: True and 1 are one label, but of two types.

    `follows`: the label before it is of the same row; `held`: what the row held before all of them. Shape (n,) each.
    """
    number = np.arange(len(again))
    begin = np.maximum.accumulate(np.where(follows, 0, number))
    source = np.maximum.accumulate(np.where(again, -1, number))
    return said.part(source).where(source >= begin, held)
