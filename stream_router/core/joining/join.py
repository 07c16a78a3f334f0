"""The join: predictions and labels of one input partition meet by request id, exactly once whatever is replayed.

Each side arrives in the order of its offsets, the two sides in any order and in chunks of any size. Everything that is
said is a function of the two logs and of R.splits; what has been said already is told from the positions `base` up to
which a predecessor has spoken: a thing is new exactly if a record that causes it lies at or beyond them.

With the policy's reach = window + label_horizon + prediction_deadline, these are the laws:
- A prediction scored more than reach after (or before) it was routed is nothing: `expired`. Where scored_at is unknown,
  routed_at counts in its place, and the Kafka timestamp where that is unknown, too.
- A prediction is a `duplicate` of an earlier row of its id that was routed at most prediction_deadline before or after
  it, and nothing; else it is a row: another request.
- A label belongs to the first row of its id, by offset, whose interval contains its time: from reach before scored_at,
  rounded down to a whole prediction_deadline, to label_horizon after the end of its window. Else it waits, as it may
  have come before its prediction; where the id has a row it is counted `expired`, once, and never `orphan`.
- Of a row's labels the first is `joined`; a later one is `duplicate` where it says the same as the newest, else
  `revised`.
- A label that says the same as the newest one that waits of its id, and is not older and of the same whole
  prediction_deadline, is that one again: `duplicate`. At most `early_limit` labels wait, and MAX_WAITING of one id;
  more are `refused`, and nothing: of what is refused no law holds.
- A prediction scored more than prediction_deadline after its routing is late: counted, its labels too, but it never
  gives an outcome.
- A prediction without epoch and digest, made by another system, belongs to the split in force at its routed_at; where
  there is none it is counted, its labels too, but gives no outcome: `unattributed`.
- A first label gives an outcome of accuracy while a rollout is on; stable's is left out where its order hash, as a
  fraction of 2^64, is not below STABLE_PER_CANARY times canary's share divided by the rest. Beside a canary without a
  share stable gives none: there is nothing to compare it with.

No label counts for a row more than reach after its routing, and no prediction scored that much later is its duplicate,
so rows and labels that wait are forgotten when their time is the policy's `kept_for` past. That supposes that records
come within the clock skew of their times. Requests with one id whose intervals overlap are told apart for as long as
all their rows are held: a successor that reads again from where the oldest row has been forgotten may take a label of
that one for the next one's.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from stream_router.core.evidence import ACCURACY, Doubles, Flags, Integers, OutcomeKey, Outcomes, Positions
from stream_router.core.histogram import buckets_of
from stream_router.core.joining.columns import Labels, Origin, Predictions
from stream_router.core.joining.counting import (
    BAD_DELAYS,
    CORRECT,
    DELAYS,
    ERRORS,
    INCORRECT,
    LATE,
    LATENCIES,
    MODEL_LATENCIES,
    PREDICTED,
    REVISED,
    Cell,
    Cells,
    Changes,
)
from stream_router.core.joining.expiry import Expiry
from stream_router.core.joining.hashes import hashes_of, keys_of, order_of
from stream_router.core.joining.join_output import JoinOutput
from stream_router.core.joining.split_history import SplitHistory
from stream_router.core.joining.table import NO_ROW, Keys, Table
from stream_router.core.joining.thinning import Thinning
from stream_router.core.joining.values import NOTHING, Values, agree, coded, same
from stream_router.core.policy import Policy

Kind = Literal["joined", "duplicate", "revised", "orphan", "expired", "refused", "unattributed"]
"""joined: a first label. duplicate: a prediction, or the same label, again. revised: another label than before.
orphan: a label that no prediction came for. expired: a prediction or a label too late to count. refused: a label that
found no place to wait. unattributed: a prediction whose split is not known."""

EARLY_LIMIT: Final = 1_000_000
MAX_WAITING: Final = 64
"""Labels of one id that may wait: a search goes through them one by one."""

_BUCKETS: Final = 64
_LATEST: Final = 2**60
"""Times beyond it count as it, so that sums of two fit into 64 bits."""

_NEW: Final = 1
_IS_LATE: Final = 2
_EXPIRED: Final = 2

_ROW: Final = {
    "cell": np.int32,
    "routed_at": np.int64,
    "oldest_label": np.int64,
    "entity": np.int64,
    "value_kind": np.uint8,
    "value": np.int64,
    "label_kind": np.uint8,
    "label": np.int64,
    "flags": np.uint8,
}
_EARLY: Final = {
    "offset": np.int64,
    "time": np.int64,
    "value_kind": np.uint8,
    "value": np.int64,
    "flags": np.uint8,
    "place": np.uint8,
}
_RELEVANT: Final = "window", "label_horizon", "prediction_deadline"

_T = TypeVar("_T")


LeftOut = Literal["late", "thinned"]
"""late: its prediction came too late to be an answer. thinned: stable has enough of them."""


class Pending(NamedTuple):
    """What outcomes have in common that fill a block together."""

    epoch: int
    digest: str
    rollout: int
    metric: str


class _Labels(NamedTuple):
    """Labels in columns of shape (n,)."""

    offset: Integers
    time: Integers
    said: Values
    new: Flags

    def part(self, chosen: Integers | Flags) -> "_Labels":
        return _Labels(self.offset[chosen], self.time[chosen], self.said.part(chosen), self.new[chosen])


@dataclass(slots=True)
class _Accuracy:
    """Outcomes since the last take, in columns of shape (n,)."""

    cell: Integers
    entity: Integers
    order: Integers
    delay: Integers
    time: Integers
    bad: Flags


class Join:
    """State: one row per request within the horizon, joined ones too, and the labels whose prediction has not come.

    Rows are forgotten by `on_watermark`. Not thread-safe. `splits` must know the splits of what is read: an outcome of
    one that is not known is not left out. `pending`: how many outcomes the next `take` gives; `left_out`: how many none
    will give, and why.
    """

    def __init__(
        self, policy: Policy, base: Positions, splits: SplitHistory, *, early_limit: int = EARLY_LIMIT
    ) -> None:
        self.kinds: Counter[Kind] = Counter()
        self.pending: Counter[Pending] = Counter()
        self.left_out: Counter[LeftOut] = Counter()
        self._policy, self._base, self._splits, self._early_limit = policy, base, splits, early_limit
        self._rows, self._early = Table(_ROW), Table(_EARLY)
        width = policy.reach // _BUCKETS
        self._row_expiry, self._early_expiry = Expiry(width), Expiry(width)
        self._next_prediction = self._next_label = 0
        self._cells = Cells()
        self._most_cells = 1024
        self._thinning = Thinning(splits)
        self._outcomes: list[_Accuracy] = []
        self._changes = Changes()

    @property
    def rows(self) -> int:
        """Predictions held, labelled or not."""
        return len(self._rows)

    @property
    def early(self) -> int:
        """Labels that wait for a prediction."""
        return len(self._early)

    def on_predictions(self, predictions: Predictions) -> None:
        """Offsets ascending; what was seen before is passed over."""
        unseen = np.flatnonzero(predictions.offset >= self._next_prediction)
        if not len(unseen):
            return
        self._next_prediction = int(predictions.offset[-1]) + 1
        routed_at = _known(predictions.routed_at, predictions.time)
        scored_at = _known(predictions.scored_at, routed_at)
        new = predictions.offset >= self._base.predictions
        within = np.abs(scored_at - routed_at)[unseen] <= self._policy.reach
        self._count("expired", new[unseen] & ~within)
        read = unseen[within]
        keys = keys_of(_chosen(predictions.request_id, read))
        late = scored_at[read] - routed_at[read] > self._policy.prediction_deadline
        values = coded(_chosen(predictions.value, read))
        columns = {
            "cell": self._cells_of(_chosen(predictions.origin, read), routed_at[read]),
            "routed_at": routed_at[read],
            "oldest_label": self._whole_deadlines(scored_at[read] - self._policy.reach),
            "entity": self._entities(_chosen(predictions.entity, read), keys),
            "value_kind": values.kind,
            "value": values.bits,
            "label_kind": np.full(len(read), NOTHING, np.uint8),
            "label": np.zeros(len(read), np.int64),
            "flags": (_NEW * new[read] + _IS_LATE * late).astype(np.uint8),
        }
        became = np.zeros(len(read), np.bool_)
        left = np.arange(len(read))
        while len(left):
            left = left[self._not_duplicate(keys[left], columns["routed_at"][left], new[read][left])]
            turn = _turns(keys[left])
            chosen, left = left[turn == 0], left[turn > 0]
            became[chosen] = True
            self._enter(keys[chosen], predictions.offset[read][chosen], {k: v[chosen] for k, v in columns.items()})
        said = np.flatnonzero(became & new[read])
        self._on_new_rows(predictions, read[said], columns["cell"][said], scored_at[read][said], late[said])

    def on_labels(self, labels: Labels) -> None:
        """Offsets ascending; what was seen before is passed over."""
        unseen = np.flatnonzero(labels.offset >= self._next_label)
        if not len(unseen):
            return
        self._next_label = int(labels.offset[-1]) + 1
        keys = keys_of(_chosen(labels.request_id, unseen))
        offset = labels.offset[unseen]
        columns = _Labels(
            offset,
            np.clip(labels.time[unseen], 0, _LATEST),
            coded(_chosen(labels.value, unseen)),
            offset >= self._base.ground_truth,
        )
        turn = _turns(keys)
        for number in range(int(turn.max()) + 1):
            part = np.flatnonzero(turn == number)
            self._on_labels(keys[part], columns.part(part))

    def on_watermark(self, clock: int) -> None:
        """Forget what can change nothing any more, all inputs up to `clock` (ms since the epoch) having been read."""
        before = clock - self._policy.kept_for
        bound = self._row_expiry.expire(before)
        if bound is not None:
            self._rows.remove(self._rows.where("routed_at", bound))
        bound = self._early_expiry.expire(before)
        if bound is not None:
            waited = self._early.where("time", bound)
            self._count("orphan", self._early["flags"][waited] & _EXPIRED == 0)
            self._early.remove(waited)

    def take(self) -> JoinOutput:
        """All that came about since the last call."""
        counts, bad_delays = self._changes.take(self._cells)
        output = JoinOutput(self._taken_outcomes(), bad_delays, counts)
        if len(self._cells) > self._most_cells:
            self._forget_cells()
        return output

    def rebuild_from(self, positions: Positions) -> Positions:
        """Where a successor that begins at `positions` has to read from to hold the same rows."""
        rows, early = self._row_expiry.lowest(), self._early_expiry.lowest()
        return Positions(min(positions.predictions, rows[0]), min(positions.ground_truth, rows[1], early[1]))

    def state(self) -> Mapping[str, npt.NDArray[Any]]:
        """Arrays without objects, for `restored`: all but what `take` has still to give."""
        state: dict[str, npt.NDArray[Any]] = {
            "policy": np.array([getattr(self._policy, name) for name in _RELEVANT], np.int64),
            "assign_by": np.frombuffer(self._policy.assign_by.encode(), np.uint8),
            "next": np.array([self._next_prediction, self._next_label], np.int64),
            "cells": self._cells.state(),
            "row_expiry": self._row_expiry.state(),
            "early_expiry": self._early_expiry.state(),
        }
        for prefix, table, columns in (("row", self._rows, _ROW), ("early", self._early, _EARLY)):
            rows = table.all_rows()
            state[f"{prefix}.key"] = table.keys(rows)
            state.update({f"{prefix}.{name}": table[name][rows] for name in columns})
        return state

    @classmethod
    def restored(
        cls,
        policy: Policy,
        base: Positions,
        splits: SplitHistory,
        state: Mapping[str, npt.NDArray[Any]],
        *,
        early_limit: int = EARLY_LIMIT,
    ) -> "Join":
        """A join with the same rows, of which nothing is new. Raises ValueError for the state of another policy."""
        join = cls(policy, base, splits, early_limit=early_limit)
        own = join.state()
        for name in ("policy", "assign_by"):
            if not np.array_equal(state[name], own[name]):
                raise ValueError(
                    f"the join's state was written under {_told(state)}, and the policy in force is {_told(own)}: "
                    "read both inputs again instead"
                )
        join._next_prediction, join._next_label = state["next"].tolist()
        join._cells = Cells.restored(state["cells"])
        join._row_expiry.restore(state["row_expiry"])
        join._early_expiry.restore(state["early_expiry"])
        for prefix, table, columns in (("row", join._rows, _ROW), ("early", join._early, _EARLY)):
            for part in _slices(len(state[f"{prefix}.key"])):
                rows = table.insert(state[f"{prefix}.key"][part], {k: state[f"{prefix}.{k}"][part] for k in columns})
                table["flags"][rows] &= 255 - _NEW
        return join

    def _on_new_rows(
        self, predictions: Predictions, read: Integers, cells: Integers, scored_at: Integers, late: Flags
    ) -> None:
        """What predictions say by themselves: of the chosen the cells, when they were scored, and whether too late."""
        changes, cell_numbers = self._changes, cells.astype(np.int64)
        changes.note(PREDICTED, cell_numbers)
        changes.note(ERRORS, cell_numbers, predictions.is_error[read])
        changes.note(LATE, cell_numbers, late)
        scored = predictions.scored_at[read] > 0
        requested_at = _known(predictions.requested_at[read], scored_at)
        timed = scored & (predictions.requested_at[read] > 0)
        changes.note(LATENCIES, cell_numbers, timed, buckets_of(scored_at - requested_at))
        timed = scored & (predictions.batch_size[read] > 0)
        model_time = _milliseconds(predictions.model_seconds[read] * predictions.batch_size[read])
        changes.note(MODEL_LATENCIES, cell_numbers, timed, buckets_of(model_time))
        self._count("unattributed", ~self._thinning.is_attributed(self._cells, cell_numbers))

    def _not_duplicate(self, keys: Keys, routed_at: Integers, new: Flags) -> Flags:
        """Whether each prediction is another request than those that are rows of its id."""
        rows = self._rows.find(keys)
        duplicate = np.zeros(len(keys), np.bool_)
        going = np.flatnonzero(rows != NO_ROW)
        rows = rows[going]
        while going.size:
            near = np.abs(self._rows["routed_at"][rows] - routed_at[going]) <= self._policy.prediction_deadline
            duplicate[going[near]] = True
            rows = self._rows.next(rows)
            on = (rows != NO_ROW) & ~near
            going, rows = going[on], rows[on]
        self._count("duplicate", new & duplicate)
        return ~duplicate

    def _enter(self, keys: Keys, offsets: Integers, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """New rows, all of different ids; labels that waited for them meet them."""
        rows = self._rows.insert(keys, columns)
        self._row_expiry.note_predictions(columns["routed_at"], offsets)
        if not len(self._early):
            return
        waiting = self._early.find(keys)
        there = waiting != NO_ROW
        rows, waiting = rows[there], waiting[there]
        met: list[Integers] = []
        while rows.size:
            labels = self._waiting(waiting)
            fits = self._fits(rows, labels.time)
            self._on_label(rows[fits], labels.part(fits))
            met.append(waiting[fits])
            self._count_expired(waiting[~fits], labels.new[~fits] | self._is_new(rows[~fits]))
            later = self._early.next(waiting)
            on = later != NO_ROW
            rows, waiting = rows[on], later[on]
        if met:
            self._early.remove(np.concatenate(met))

    def _waiting(self, waiting: Integers) -> _Labels:
        early = self._early
        said = Values(early["value_kind"][waiting], early["value"][waiting])
        new = early["flags"][waiting] & _NEW > 0
        return _Labels(early["offset"][waiting], early["time"][waiting], said, new)

    def _count_expired(self, waiting: Integers, new: Flags) -> None:
        before = self._early["flags"][waiting]
        self._count("expired", new & (before & _EXPIRED == 0))
        self._early["flags"][waiting] = before | _EXPIRED

    def _on_labels(self, keys: Keys, labels: _Labels) -> None:
        """Labels of different ids."""
        newest = self._newest_waiting(keys)
        again = self._says_again(newest, labels)
        self._count("duplicate", labels.new & again)
        if again.any():
            left = np.flatnonzero(~again)
            keys, newest, labels = keys[left], newest[left], labels.part(left)
        heads = self._rows.find(keys)
        rows = self._first_fitting(heads, labels.time)
        fits = rows != NO_ROW
        self._on_label(rows[fits], labels.part(fits))
        if not fits.all():
            left = np.flatnonzero(~fits)
            self._wait(keys[left], labels.part(left), heads[left], newest[left])

    def _newest_waiting(self, keys: Keys) -> Integers:
        """The newest label of each id that waits, or NO_ROW."""
        if not len(self._early):
            return np.full(len(keys), NO_ROW)
        newest = self._early.find(keys)
        there = newest != NO_ROW
        newest[there] = self._early.newest(newest[there])
        return newest

    def _says_again(self, newest: Integers, labels: _Labels) -> Flags:
        again: Flags = newest != NO_ROW
        there = np.flatnonzero(again)
        if len(there):
            before, after = self._waiting(newest[there]), labels.part(there)
            again[there] = (
                same(before.said, after.said)
                & (before.time <= after.time)
                & (self._whole_deadlines(before.time) == self._whole_deadlines(after.time))
            )
        return again

    def _first_fitting(self, heads: Integers, times: Integers) -> Integers:
        """Of the rows from each head on the first whose interval contains the time, or NO_ROW."""
        found = np.full(len(heads), NO_ROW)
        going = np.flatnonzero(heads != NO_ROW)
        rows = heads[going]
        while going.size:
            fits = self._fits(rows, times[going])
            found[going[fits]] = rows[fits]
            rows = self._rows.next(rows)
            on = (rows != NO_ROW) & ~fits
            going, rows = going[on], rows[on]
        return found

    def _fits(self, rows: Integers, times: Integers) -> Flags:
        routed_at = self._rows["routed_at"][rows]
        newest_label = routed_at - routed_at % self._policy.window + self._policy.matures_after
        fits: Flags = (self._rows["oldest_label"][rows] <= times) & (times <= newest_label)
        return fits

    def _wait(self, keys: Keys, labels: _Labels, heads: Integers, newest: Integers) -> None:
        """Labels of different ids that no row took; `heads` and `newest`: the id's oldest row and newest label here."""
        known = heads != NO_ROW
        new = labels.new.copy()
        new[known] |= self._is_new(heads[known])
        self._count("expired", new & known)
        waiting = newest != NO_ROW
        place = np.zeros(len(keys), np.uint8)
        place[waiting] = self._early["place"][newest[waiting]] + 1
        chosen = np.flatnonzero(place < MAX_WAITING)[: max(0, self._early_limit - len(self._early))]
        refused = labels.new.copy()
        refused[chosen] = False
        self._count("refused", refused)
        offset, time, said, is_new = labels.part(chosen)
        columns = {
            "offset": offset,
            "time": time,
            "value_kind": said.kind,
            "value": said.bits,
            "flags": (_NEW * is_new + _EXPIRED * known[chosen]).astype(np.uint8),
            "place": place[chosen],
        }
        self._early.insert(keys[chosen], columns)
        self._early_expiry.note_labels(time, offset)

    def _on_label(self, rows: Integers, labels: _Labels) -> None:
        """A label for each row, all different, that it belongs to."""
        if not len(rows):
            return
        table = self._rows
        before = Values(table["label_kind"][rows], table["label"][rows])
        first = before.kind == NOTHING
        again = ~first & same(before, labels.said)
        new = labels.new | self._is_new(rows)
        self._count("joined", new & first)
        self._count("duplicate", new & again)
        table["label_kind"][rows], table["label"][rows] = labels.said
        routed_at, cells = table["routed_at"][rows], table["cell"][rows].astype(np.int64)
        self._row_expiry.note_labels(routed_at[first], labels.offset[first])
        answer = Values(table["value_kind"][rows], table["value"][rows])
        right = agree(answer, labels.said)
        self._changes.note(CORRECT, cells, new & ~again & right)
        revised = new & ~first & ~again
        if revised.any():
            self._count("revised", revised)
            self._changes.note(REVISED, cells, revised)
            self._changes.note(INCORRECT, cells, revised & agree(answer, before))
        chosen = np.flatnonzero(new & first)
        delay = np.maximum(labels.time - routed_at, 0)[chosen]
        self._on_first_labels(rows[chosen], cells[chosen], delay, labels.time[chosen], ~right[chosen])

    def _on_first_labels(self, rows: Integers, cells: Integers, delay: Integers, time: Integers, bad: Flags) -> None:
        buckets = buckets_of(delay)
        self._changes.note(DELAYS, cells, None, buckets)
        self._changes.note(BAD_DELAYS, cells, bad & self._thinning.is_stable(self._cells, cells), buckets)
        order = order_of(self._rows.keys(rows))
        late = self._rows["flags"][rows] & _IS_LATE > 0
        takes = self._thinning.takes(self._cells, cells, order)
        self.left_out["late"] += int(np.count_nonzero(late & takes))
        self.left_out["thinned"] += int(np.count_nonzero(~takes & self._thinning.thins(self._cells, cells)))
        gives = np.flatnonzero(~late & takes)
        for number, count in zip(*map(np.ndarray.tolist, np.unique(cells[gives], return_counts=True)), strict=True):
            cell = self._cells[number]
            self.pending[Pending(cell.epoch, cell.digest, cell.rollout, ACCURACY)] += count
        if len(gives):
            entity = self._rows["entity"][rows[gives]]
            self._outcomes.append(_Accuracy(cells[gives], entity, order[gives], delay[gives], time[gives], bad[gives]))

    def _taken_outcomes(self) -> tuple[Outcomes, ...]:
        """Outcomes since the last call, by cell, in the order in which they came."""
        taken, self._outcomes = self._outcomes, []
        self.pending.clear()
        if not taken:
            return ()
        cells = np.concatenate([part.cell for part in taken])
        order = np.argsort(cells, kind="stable")
        ends = np.flatnonzero(np.diff(cells[order])) + 1
        columns = {
            name: np.concatenate([getattr(part, name) for part in taken])[order]
            for name in ("entity", "order", "delay", "time", "bad")
        }
        return tuple(
            Outcomes(
                key=OutcomeKey(*self._cells[int(cells[order[first]])], ACCURACY),
                **{name: column[first:last] for name, column in columns.items()},
            )
            for first, last in zip([0, *ends.tolist()], [*ends.tolist(), len(order)], strict=True)
        )

    def _cells_of(self, origins: Sequence[Origin], routed_at: Integers) -> Integers:
        """The cell of each prediction."""
        known: dict[Origin, int] = {}
        codes = np.array([known.setdefault(origin, len(known)) for origin in origins], np.int64)
        foreign = np.array([origin.epoch == 0 and not origin.digest for origin in known], np.bool_)
        windows, place = np.unique(routed_at - routed_at % self._policy.window, return_inverse=True)
        groups = place * len(known) + codes
        numbers = np.full(len(codes), NO_ROW)
        if foreign.any():
            made = foreign[codes]
            numbers[made] = self._splits.numbers_at(routed_at[made])
            groups = groups * (len(self._splits) + 1) + numbers + 1
        _, first, group = np.unique(groups, return_index=True, return_inverse=True)
        names = list(known)
        cells = [self._cell(int(windows[place[at]]), names[codes[at]], int(numbers[at])) for at in first.tolist()]
        return np.array(cells, np.int64)[group]

    def _cell(self, window: int, origin: Origin, number: int) -> int:
        epoch, digest, rollout, lane, version = origin
        if number != NO_ROW:
            applied = self._splits[number]
            epoch, digest, rollout = applied.epoch, applied.digest, rollout or applied.rollout
        return self._cells.number(Cell(window, epoch, digest, rollout, lane, version))

    def _entities(self, entities: Sequence[bytes | None], keys: Keys) -> Integers:
        """xxh3_64 of the request's key, or the order hash where there is none or each request is drawn by itself."""
        hashes = order_of(keys)
        if self._policy.assign_by == "key":
            keyed = [place for place, entity in enumerate(entities) if entity is not None]
            hashes[keyed] = hashes_of([entity for entity in entities if entity is not None])
        return hashes

    def _forget_cells(self) -> None:
        """Keep those of rows only, under other numbers."""
        rows = self._rows.all_rows()
        used, numbers = np.unique(self._rows["cell"][rows], return_inverse=True)
        self._cells = self._cells.only(used)
        self._rows["cell"][rows] = numbers
        self._most_cells = max(1024, 2 * len(used))
        self._thinning = Thinning(self._splits)

    def _is_new(self, rows: Integers) -> Flags:
        new: Flags = self._rows["flags"][rows] & _NEW > 0
        return new

    def _whole_deadlines(self, times: Integers) -> Integers:
        deadline = max(1, self._policy.prediction_deadline)
        return times // deadline * deadline

    def _count(self, kind: Kind, chosen: Flags) -> None:
        number = int(np.count_nonzero(chosen))
        if number:
            self.kinds[kind] += number


def _turns(keys: Keys) -> Integers:
    """How many equal keys come before each: shape (n,)."""
    order = np.argsort(keys[:, 1], kind="stable")
    low = keys[order, 1]
    equal = low[1:] == low[:-1]
    turns = np.zeros(len(keys), np.int64)
    if equal.any():
        number = np.arange(len(keys))
        first = np.maximum.accumulate(np.where(np.concatenate([[False], equal]), 0, number))
        turns[order] = number - first
    return turns


def _known(times: Integers, otherwise: Integers) -> Integers:
    return np.minimum(np.where(times > 0, times, np.maximum(otherwise, 0)), _LATEST)


def _milliseconds(seconds: Doubles) -> Integers:
    return np.clip(np.nan_to_num(seconds * 1000, nan=0.0), 0, _LATEST).astype(np.int64)


def _chosen(items: Sequence[_T], places: Integers) -> Sequence[_T]:
    return items if len(places) == len(items) else [items[place] for place in places.tolist()]


def _slices(length: int, size: int = 100_000) -> list[slice]:
    return [slice(first, first + size) for first in range(0, length, size)]


def _told(state: Mapping[str, npt.NDArray[Any]]) -> str:
    times = ", ".join(f"{name}={time} ms" for name, time in zip(_RELEVANT, state["policy"].tolist(), strict=True))
    return f"{times}, assign_by={state['assign_by'].tobytes().decode()}"
