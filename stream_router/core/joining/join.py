"""The join: predictions and labels of one input partition meet by request id, exactly once whatever is replayed.

Each side arrives in the order of its offsets, the two sides in any order and in chunks of any size. Everything that is
said is a function of the two logs and of R.splits; what has been said already is told from the positions `base` up to
which a predecessor has spoken: a thing is new exactly if a record that causes it lies at or beyond them.

With the policy's reach = window + label_horizon + prediction_deadline, these are the laws:
- A prediction scored more than reach after (or before) it was routed is nothing: `expired`. Where scored_at is unknown,
  routed_at counts in its place, and the Kafka timestamp where that is unknown, too.
- A prediction is a `duplicate` of an earlier row of its id that was routed at most prediction_deadline before or after
  it, and nothing; else it is a row: another request. At most MAX_ROWS rows of one id are held; more are `refused`.
- A label belongs to the first row of its id, by offset, whose interval contains its time: from reach before scored_at,
  rounded down to a whole prediction_deadline, to label_horizon after the end of its window. Else it waits, as it may
  have come before its prediction; where the id has a row it is counted `expired`, once, and never `orphan`.
- Of a row's labels the first is `joined`; a later one is `duplicate` where it says the same as the newest, else
  `revised`.
- A label that no row takes and that says the same as the newest one of its id that waits, not older and of the same
  whole prediction_deadline, is that one again: `duplicate`. At most `early_limit` labels wait, and MAX_WAITING of one
  id; more are `refused`. What is refused is nothing, and of it no law holds.
- A prediction scored more than prediction_deadline after its routing is late: counted, its labels too, but it never
  gives an outcome of any kind.
- A prediction without epoch and digest, made by another system, belongs to the split in force at its routed_at, of
  those whose records have no later Kafka timestamp than its own; where there is none it is counted, its labels too, but
  gives no outcome: `unattributed`.
- While a rollout is on, a row gives an outcome of each kind: of PREDICTION, LATENCY and MODEL_LATENCY when it is read,
  of ACCURACY with its first label, of LABELLING once a watermark is CLOCK_SKEW_MS past the time at which its window has
  matured, told by the labels read before. A row that is read after that gives none of LABELLING. Stable's outcomes are
  left out where its order hash, as a fraction of 2^64, is not below STABLE_PER_CANARY times canary's share divided by
  the rest. Beside a canary without a share stable gives none: there is nothing to compare it with.

No label counts for a row more than reach after its routing, and no prediction scored that much later is its duplicate,
so rows and labels that wait are forgotten when their time is the policy's `kept_for` past. That supposes that records
come within the clock skew of their times. Requests with one id whose intervals overlap are told apart for as long as
all their rows are held: a successor that reads again from where the oldest row has been forgotten may take a label of
that one for the next one's.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from stream_router.core.evidence import Flags, Integers, Positions
from stream_router.core.histogram import buckets_of, lower_bound
from stream_router.core.joining.agreement import Bad, agreement
from stream_router.core.joining.attribution import Attribution
from stream_router.core.joining.columns import LATEST, Labels, Predictions, known_times
from stream_router.core.joining.counting import Cells
from stream_router.core.joining.expiry import Expiry
from stream_router.core.joining.hashes import firsts, hashes_of, keys_of, order_of
from stream_router.core.joining.join_output import JoinOutput
from stream_router.core.joining.maturity import first_immature
from stream_router.core.joining.new_outcomes import Requests
from stream_router.core.joining.split_history import SplitHistory
from stream_router.core.joining.table import NO_ROW, Keys, Table
from stream_router.core.joining.telling import LeftOut, Pending, Telling
from stream_router.core.joining.values import NOTHING, Values, coded, same
from stream_router.core.joining.vocabulary import Vocabulary
from stream_router.core.joining.waiting_labels import LabelColumns, WaitingLabels
from stream_router.core.policy import Policy
from stream_router.core.scoring.prediction import Value

Kind = Literal["joined", "duplicate", "revised", "orphan", "expired", "refused", "unattributed"]
"""joined: a first label. duplicate: a prediction, or the same label, again. revised: another label than before.
orphan: a label that no prediction came for. expired: a prediction or a label too late to count. refused: a label that
found no place to wait, or a prediction of an id that has too many rows. unattributed: a prediction whose split is not
known."""

EARLY_LIMIT: Final = 1_000_000

MAX_ROWS: Final = 64
"""Rows of one id: a search goes through them one by one, while the event loop waits."""

_BUCKETS: Final = 64

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

_SIDES: Final = ("value", "label")
_RELEVANT: Final = "window", "label_horizon", "prediction_deadline"

_T = TypeVar("_T")


class Join:
    """State: one row per request within the horizon, joined ones too, and the labels whose prediction has not come.

    Rows are forgotten by `on_watermark`. Not thread-safe. `splits` must know the splits of what is read: an outcome of
    one that is not known is not left out. `told_until`: the latest watermark by which a predecessor has told of windows
    that matured. `bad`: what the policy names so.
    """

    def __init__(
        self,
        policy: Policy,
        base: Positions,
        splits: SplitHistory,
        *,
        told_until: int = 0,
        early_limit: int = EARLY_LIMIT,
        bad: Bad | None = None,
    ) -> None:
        self.kinds: Counter[Kind] = Counter()
        self._policy, self._base, self._splits = policy, base, splits
        self._told_until = told_until
        width = policy.reach // _BUCKETS
        self._rows, self._expiry = Table(_ROW), Expiry(width)
        self._early = WaitingLabels(limit=early_limit, deadline=policy.prediction_deadline, width=width)
        self._next_prediction = self._next_label = 0
        self._most_cells = 1024
        self._attribution, self._telling = Attribution(policy, splits), Telling(splits)
        self._vocabulary = None if bad is None else Vocabulary()
        self._agreement = agreement(policy, bad, self._vocabulary)

    @property
    def pending(self) -> Counter[Pending]:
        """How many outcomes of accuracy the next `take` gives: the others wait for a watermark anyway."""
        return self._telling.pending

    @property
    def left_out(self) -> Counter[LeftOut]:
        """How many requests give no outcomes, and why; to be cleared by who has read it."""
        return self._telling.left_out

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
        routed_at = known_times(predictions.routed_at, predictions.time)
        scored_at = known_times(predictions.scored_at, routed_at)
        new = predictions.offset >= self._base.predictions
        within = np.abs(scored_at - routed_at)[unseen] <= self._policy.reach
        self._count("expired", new[unseen] & ~within)
        read = unseen[within]
        keys = keys_of(_chosen(predictions.request_id, read))
        late = scored_at[read] - routed_at[read] > self._policy.prediction_deadline
        values = self._coded(_chosen(predictions.value, read))
        columns = {
            "cell": self._attribution.cells_of(
                _chosen(predictions.origin, read), routed_at[read], predictions.time[read], self._telling.cells
            ),
            "routed_at": routed_at[read],
            "oldest_label": self._whole_deadlines(scored_at[read] - self._policy.reach),
            "entity": self._entities(_chosen(predictions.entity, read), keys),
            "value_kind": values.kind,
            "value": values.bits,
            "label_kind": np.full(len(read), NOTHING, np.uint8),
            "label": np.zeros(len(read), np.int64),
            "delay": np.zeros(len(read), np.uint16),
            "flags": (_NEW * new[read] + _IS_LATE * late).astype(np.uint8),
        }
        became = np.zeros(len(read), np.bool_)
        duplicate, held = self._beside_rows(keys, columns["routed_at"])
        left = np.flatnonzero(~duplicate)
        while len(left):
            full = held[left] >= MAX_ROWS
            self._count("refused", new[read][left[full]])
            left = left[~full]
            first = left[firsts(keys[left])]
            chosen = left[first == left]
            became[chosen] = True
            self._enter(keys[chosen], predictions.offset[read][chosen], {k: v[chosen] for k, v in columns.items()})
            left, first = left[first != left], first[first != left]
            near = self._is_near(columns["routed_at"][left], columns["routed_at"][first])
            duplicate[left[near]] = True
            left = left[~near]
            held[left] += 1
        self._count("duplicate", new[read] & duplicate)
        said = np.flatnonzero(became & new[read])
        requests = Requests(columns["cell"], columns["entity"], order_of(keys), columns["routed_at"], late).part(said)
        without_split = self._telling.on_predictions(
            predictions, read[said], requests, scored_at[read[said]], values.part(said)
        )
        self._count("unattributed", without_split)
        self._forget_words()

    def on_labels(self, labels: Labels) -> None:
        """Offsets ascending; what was seen before is passed over."""
        unseen = np.flatnonzero(labels.offset >= self._next_label)
        if not len(unseen):
            return
        self._next_label = int(labels.offset[-1]) + 1
        keys = keys_of(_chosen(labels.request_id, unseen))
        offset = labels.offset[unseen]
        columns = LabelColumns(
            offset,
            np.clip(labels.time[unseen], 0, LATEST),
            self._coded(_chosen(labels.value, unseen)),
            offset >= self._base.ground_truth,
        )
        heads = self._rows.find(keys)
        rows = self._first_fitting(heads, columns.time)
        fits = rows != NO_ROW
        self._on_labels(rows[fits], columns.part(fits))
        if not fits.all():
            left = np.flatnonzero(~fits)
            self._wait(keys[left], columns.part(left), heads[left])
        self._forget_words()

    def on_watermark(self, clock: int) -> None:
        """All inputs up to `clock` (ms since the epoch) have been read: tell of the windows that have matured since the
        last one, and forget what can change nothing any more.
        """
        first, last = (first_immature(self._policy, until) for until in (self._told_until, clock))
        self._told_until = max(self._told_until, clock)
        if first < last and self._telling.gives_any(first, last):
            self._on_matured(self._rows.between("routed_at", first, last))
        before = clock - self._policy.kept_for
        bound = self._expiry.expire(before)
        if bound is not None:
            self._rows.remove(self._rows.where("routed_at", bound))
        orphans = self._early.expire(before)
        if orphans:
            self.kinds["orphan"] += orphans

    def take(self) -> JoinOutput:
        """All that came about since the last call."""
        output = self._telling.take()
        if len(self._telling.cells) > self._most_cells:
            self._forget_cells()
        return output

    def rebuild_from(self, positions: Positions) -> Positions:
        """Where a successor that begins at `positions` has to read from to hold the same rows."""
        prediction, label = self._expiry.lowest()
        return Positions(
            min(positions.predictions, prediction), min(positions.ground_truth, label, self._early.lowest())
        )

    def state(self) -> Mapping[str, npt.NDArray[Any]]:
        """Arrays without objects, for `restored`: all but what `take` has still to give. 0.2 s a million rows."""
        words = {} if self._vocabulary is None else {"vocabulary": self._vocabulary.state()}
        return {
            "policy": np.array([getattr(self._policy, name) for name in _RELEVANT], np.int64),
            "assign_by": np.frombuffer(self._policy.assign_by.encode(), np.uint8),
            "next": np.array([self._next_prediction, self._next_label], np.int64),
            "cells": self._telling.cells.state(),
            "row.expiry": self._expiry.state(),
            **self._rows.state("row."),
            **self._early.state(),
            **words,
        }

    @classmethod
    def restored(
        cls,
        policy: Policy,
        base: Positions,
        splits: SplitHistory,
        state: Mapping[str, npt.NDArray[Any]],
        *,
        told_until: int = 0,
        early_limit: int = EARLY_LIMIT,
        bad: Bad | None = None,
    ) -> "Join":
        """A join with the same rows, of which nothing is new. Raises ValueError for the state of another policy."""
        join = cls(policy, base, splits, told_until=told_until, early_limit=early_limit, bad=bad)
        own = join.state()
        for name in ("policy", "assign_by"):
            if not np.array_equal(state[name], own[name]):
                raise ValueError(
                    f"the join's state was written under {_told(state)}, and the policy in force is {_told(own)}: "
                    "read both inputs again instead"
                )
        if join._vocabulary is not None:
            if "vocabulary" not in state:
                raise ValueError("the join's state does not hold texts, which bad asks for: read both inputs again")
            join._vocabulary.restore(state["vocabulary"])
        join._next_prediction, join._next_label = state["next"].tolist()
        join._telling.renumber(Cells.restored(state["cells"]))
        join._expiry.restore(state["row.expiry"])
        join._rows.restore("row.", state)
        join._rows["flags"][join._rows.all_rows()] &= 255 - _NEW
        join._early.restore(state)
        return join

    def _coded(self, values: Sequence[Value | None]) -> Values:
        found = coded(values)
        if self._vocabulary is not None:
            self._vocabulary.learn(found, values)
        return found

    def _forget_words(self) -> None:
        if self._vocabulary is not None and self._vocabulary.is_due:
            rows = self._rows.all_rows()
            answers, labels = (Values(self._rows[f"{side}_kind"][rows], self._rows[side][rows]) for side in _SIDES)
            self._vocabulary.keep(answers, labels, self._early.said())

    def _on_matured(self, rows: Integers) -> None:
        """No label counts any more for the rows."""
        requests = self._requests(rows)
        delay = _DELAYS[self._rows["delay"][rows]]
        delay[self._rows["label_kind"][rows] == NOTHING] = np.nan
        revised = self._rows["flags"][rows] & _IS_REVISED > 0
        self._telling.on_matured(requests, self._newest_label(requests.routed_at), revised, delay)

    def _requests(self, rows: Integers) -> Requests:
        table = self._rows
        order, late = order_of(table.keys(rows)), table["flags"][rows] & _IS_LATE > 0
        cells = table["cell"][rows].astype(np.int64)
        return Requests(cells, table["entity"][rows], order, table["routed_at"][rows], late)

    def _beside_rows(self, keys: Keys, routed_at: Integers) -> tuple[Flags, Integers]:
        """Whether each prediction is the same request as a row of its id, and of those that are not how many rows."""
        rows = self._rows.find(keys)
        duplicate, held = np.zeros(len(keys), np.bool_), np.zeros(len(keys), np.int64)
        going = np.flatnonzero(rows != NO_ROW)
        rows = rows[going]
        while going.size:
            held[going] += 1
            near = self._is_near(self._rows["routed_at"][rows], routed_at[going])
            duplicate[going[near]] = True
            rows = self._rows.next(rows)
            on = (rows != NO_ROW) & ~near
            going, rows = going[on], rows[on]
        return duplicate, held

    def _is_near(self, one: Integers, other: Integers) -> Flags:
        """Whether two routings of one id are of one request."""
        near: Flags = np.abs(one - other) <= self._policy.prediction_deadline
        return near

    def _enter(self, keys: Keys, offsets: Integers, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """New rows, all of different ids; labels that waited for them meet them."""
        rows = self._rows.insert(keys, columns)
        self._expiry.note_predictions(columns["routed_at"], offsets)
        waiting = self._early.oldest(keys)
        there = waiting != NO_ROW
        rows, waiting = rows[there], waiting[there]
        met: list[Integers] = []
        while rows.size:
            labels = self._early.columns(waiting)
            fits = self._fits(rows, labels.time)
            self._on_labels(rows[fits], labels.part(fits))
            met.append(waiting[fits])
            new = labels.new[~fits] | self._is_new(rows[~fits])
            self._count("expired", new & self._early.mark_expired(waiting[~fits]))
            later = self._early.next(waiting)
            on = later != NO_ROW
            rows, waiting = rows[on], later[on]
        if met:
            self._early.remove(np.concatenate(met))

    def _wait(self, keys: Keys, labels: LabelColumns, heads: Integers) -> None:
        """Labels that fit no row; `heads`: the oldest row of each id."""
        known = heads != NO_ROW
        new = labels.new.copy()
        new[known] |= self._is_new(heads[known])
        again, refused = self._early.add(keys, labels, known)
        self._count("duplicate", labels.new & again)
        self._count("expired", new & known & ~again)
        self._count("refused", labels.new & refused)

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
        fits: Flags = (self._rows["oldest_label"][rows] <= times) & (times <= self._newest_label(routed_at))
        return fits

    def _newest_label(self, routed_at: Integers) -> Integers:
        """The latest time of a label that counts for each routing."""
        newest: Integers = routed_at - routed_at % self._policy.window + self._policy.matures_after
        return newest

    def _on_labels(self, rows: Integers, labels: LabelColumns) -> None:
        """Labels, each with the row that it belongs to."""
        if not len(rows):
            return
        table = self._rows
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
        new = labels.new | self._is_new(rows)
        self._count("joined", new & first)
        self._count("duplicate", new & again)
        table["label_kind"][rows], table["label"][rows] = said  # of several the last remains
        routed_at, cells = table["routed_at"][rows], table["cell"][rows].astype(np.int64)
        self._expiry.note_labels(routed_at[first], labels.offset[first])
        table["delay"][rows[first]] = buckets_of(np.maximum(labels.time - routed_at, 0)[first])
        other = ~first & ~again
        table["flags"][rows[other]] |= _IS_REVISED
        answer = Values(table["value_kind"][rows], table["value"][rows])
        asked = np.flatnonzero(new & ~again)
        right = np.zeros(len(rows), np.bool_)
        right[asked] = self._agreement.right(answer.part(asked), said.part(asked))
        self._telling.on_labels(cells, right)
        revised = np.flatnonzero(new & other)
        if len(revised):
            self._count("revised", new & other)
            were_right = self._agreement.right(answer.part(revised), before.part(revised))
            self._telling.on_revised(cells[revised], were_right)
        chosen = np.flatnonzero(new & first)
        self._telling.on_first_labels(self._requests(rows[chosen]), labels.time[chosen], ~right[chosen])

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
        self._telling.renumber(self._telling.cells.only(used))
        self._rows["cell"][rows] = numbers
        self._most_cells = max(1024, 2 * len(used))

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


def _chosen(items: Sequence[_T], places: Integers) -> Sequence[_T]:
    return items if len(places) == len(items) else [items[place] for place in places.tolist()]


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


def _told(state: Mapping[str, npt.NDArray[Any]]) -> str:
    times = ", ".join(f"{name}={time} ms" for name, time in zip(_RELEVANT, state["policy"].tolist(), strict=True))
    return f"{times}, assign_by={state['assign_by'].tobytes().decode()}"
