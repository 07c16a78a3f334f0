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
from stream_router.core.joining.agreement import Bad, agreement
from stream_router.core.joining.attribution import Attribution
from stream_router.core.joining.columns import LATEST, Labels, Predictions, known_times
from stream_router.core.joining.counting import Cells
from stream_router.core.joining.hashes import firsts, hashes_of, keys_of, order_of
from stream_router.core.joining.held_rows import HeldRows
from stream_router.core.joining.join_output import JoinOutput
from stream_router.core.joining.maturity import first_immature
from stream_router.core.joining.new_outcomes import Requests
from stream_router.core.joining.split_history import SplitHistory
from stream_router.core.joining.table import NO_ROW, Keys
from stream_router.core.joining.telling import LeftOut, Pending, Telling
from stream_router.core.joining.values import NOTHING, Values, coded
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
        self._rows = HeldRows(policy, width)
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
        cells = self._attribution.cells_of(
            _chosen(predictions.origin, read), routed_at[read], predictions.time[read], self._telling.cells
        )
        entities = self._entities(_chosen(predictions.entity, read), keys)
        requests = Requests(cells, entities, order_of(keys), routed_at[read], late)
        columns = self._rows.columns(requests, scored_at[read], values, new[read])
        became = np.zeros(len(read), np.bool_)
        duplicate, held = self._rows.beside(keys, requests.routed_at)
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
            near = self._rows.is_near(requests.routed_at[left], requests.routed_at[first])
            duplicate[left[near]] = True
            left = left[~near]
            held[left] += 1
        self._count("duplicate", new[read] & duplicate)
        said = np.flatnonzero(became & new[read])
        without_split = self._telling.on_predictions(
            predictions, read[said], requests.part(said), scored_at[read[said]], values.part(said)
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
        rows = self._rows.first_fitting(heads, columns.time)
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
            self._on_matured(self._rows.between(first, last))
        before = clock - self._policy.kept_for
        self._rows.expire(before)
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
        prediction, label = self._rows.lowest()
        return Positions(
            min(positions.predictions, prediction), min(positions.ground_truth, label, self._early.lowest())
        )

    def state(self) -> Mapping[str, npt.NDArray[Any]]:
        """Arrays without objects, for `restored`: all but what `take` has still to give. 0.2 s a million rows."""
        words = {} if self._vocabulary is None else self._vocabulary.state()
        return {
            "policy": np.array([getattr(self._policy, name) for name in _RELEVANT], np.int64),
            "assign_by": np.frombuffer(self._policy.assign_by.encode(), np.uint8),
            "next": np.array([self._next_prediction, self._next_label], np.int64),
            "cells": self._telling.cells.state(),
            **self._rows.state(),
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
            try:
                join._vocabulary.restore(state)
            except KeyError as error:
                raise ValueError(
                    "the join's state does not hold texts, which bad asks for: read both inputs again"
                ) from error
        join._next_prediction, join._next_label = state["next"].tolist()
        join._telling.renumber(Cells.restored(state["cells"]))
        join._rows.restore(state)
        join._early.restore(state)
        return join

    def _coded(self, values: Sequence[Value | None]) -> Values:
        found = coded(values)
        if self._vocabulary is not None:
            self._vocabulary.learn(found, values)
        return found

    def _forget_words(self) -> None:
        if self._vocabulary is not None and self._vocabulary.is_due:
            self._vocabulary.keep(*self._rows.said(), self._early.said())

    def _on_matured(self, rows: Integers) -> None:
        """No label counts any more for the rows."""
        requests = self._rows.requests(rows)
        self._telling.on_matured(requests, self._rows.newest_label(requests.routed_at), *self._rows.labelled(rows))

    def _enter(self, keys: Keys, offsets: Integers, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """New rows, all of different ids; labels that waited for them meet them."""
        rows = self._rows.enter(keys, offsets, columns)
        waiting = self._early.oldest(keys)
        there = waiting != NO_ROW
        rows, waiting = rows[there], waiting[there]
        met: list[Integers] = []
        while rows.size:
            labels = self._early.columns(waiting)
            fits = self._rows.fits(rows, labels.time)
            self._on_labels(rows[fits], labels.part(fits))
            met.append(waiting[fits])
            new = labels.new[~fits] | self._rows.is_new(rows[~fits])
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
        new[known] |= self._rows.is_new(heads[known])
        again, refused = self._early.add(keys, labels, known)
        self._count("duplicate", labels.new & again)
        self._count("expired", new & known & ~again)
        self._count("refused", labels.new & refused)

    def _on_labels(self, rows: Integers, labels: LabelColumns) -> None:
        """Labels, each with the row that it belongs to."""
        if not len(rows):
            return
        rows, labels, said, before, first, again, new = self._rows.label(rows, labels)
        self._count("joined", new & first)
        self._count("duplicate", new & again)
        requests, answer = self._rows.requests(rows), self._rows.predicted(rows)
        asked = np.flatnonzero(new & ~again)
        right = np.zeros(len(rows), np.bool_)
        right[asked] = self._agreement.right(answer.part(asked), said.part(asked))
        self._telling.on_labels(requests.cell, right)
        revised = np.flatnonzero(new & ~first & ~again)
        if len(revised):
            self.kinds["revised"] += len(revised)
            were_right = self._agreement.right(answer.part(revised), before.part(revised))
            self._telling.on_revised(requests.cell[revised], were_right)
        chosen = np.flatnonzero(new & first)
        answered = answer.kind[chosen] != NOTHING
        self._telling.on_first_labels(requests.part(chosen), labels.time[chosen], answered, right[chosen])

    def _entities(self, entities: Sequence[bytes | None], keys: Keys) -> Integers:
        """xxh3_64 of the request's key, or the order hash where there is none or each request is drawn by itself."""
        hashes = order_of(keys)
        if self._policy.assign_by == "key":
            keyed = [place for place, entity in enumerate(entities) if entity is not None]
            hashes[keyed] = hashes_of([entity for entity in entities if entity is not None])
        return hashes

    def _forget_cells(self) -> None:
        """Keep those of rows only, under other numbers."""
        used = self._rows.renumber_cells()
        self._telling.renumber(self._telling.cells.only(used))
        self._most_cells = max(1024, 2 * len(used))

    def _count(self, kind: Kind, chosen: Flags) -> None:
        number = int(np.count_nonzero(chosen))
        if number:
            self.kinds[kind] += number


def _chosen(items: Sequence[_T], places: Integers) -> Sequence[_T]:
    return items if len(places) == len(items) else [items[place] for place in places.tolist()]


def _told(state: Mapping[str, npt.NDArray[Any]]) -> str:
    times = ", ".join(f"{name}={time} ms" for name, time in zip(_RELEVANT, state["policy"].tolist(), strict=True))
    return f"{times}, assign_by={state['assign_by'].tobytes().decode()}"
