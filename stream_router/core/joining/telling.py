"""What is said of requests: counts of all, and of those that take part in a rollout outcomes of every kind.

Each kind by the same rules: of late predictions none, of those without a split or a rollout none, of stable's as many
as `Thinning` takes.
"""

from collections import Counter
from typing import Literal, NamedTuple

import numpy as np

from stream_router.core.evidence import (
    ACCURACY,
    ERROR,
    LABELLING,
    LATENCY,
    MODEL_LATENCY,
    PREDICTION,
    Doubles,
    Flags,
    Integers,
)
from stream_router.core.histogram import buckets_of
from stream_router.core.joining.columns import LATEST, Predictions, known_times
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
    Cells,
    Changes,
)
from stream_router.core.joining.join_output import JoinOutput
from stream_router.core.joining.new_outcomes import NewOutcomes, Requests
from stream_router.core.joining.new_texts import NewTexts
from stream_router.core.joining.split_history import SplitHistory
from stream_router.core.joining.thinning import Thinning
from stream_router.core.joining.values import Values, as_doubles

LeftOut = Literal["late", "thinned"]
"""Why a request gives no outcome. late: its prediction came too late to be an answer. thinned: stable has enough."""


class Pending(NamedTuple):
    """What outcomes have in common that fill a block together."""

    epoch: int
    digest: str
    rollout: int
    metric: str


class Telling:
    """`pending`: how many outcomes of accuracy the next `take` gives. `left_out`: requests that give none, and why."""

    def __init__(self, splits: SplitHistory) -> None:
        self.pending: Counter[Pending] = Counter()
        self.left_out: Counter[LeftOut] = Counter()
        self.cells = Cells()
        self._splits, self._thinning = splits, Thinning(splits)
        self._changes, self._texts = Changes(), NewTexts()
        self._accuracy = NewOutcomes(ACCURACY, has_bad=True, has_value=False)
        self._error = NewOutcomes(ERROR, has_bad=True, has_value=False)
        self._prediction = NewOutcomes(PREDICTION, has_bad=False, has_value=True)
        self._latency = NewOutcomes(LATENCY, has_bad=False, has_value=True)
        self._model_latency = NewOutcomes(MODEL_LATENCY, has_bad=False, has_value=True)
        self._labelling = NewOutcomes(LABELLING, has_bad=True, has_value=True)

    def renumber(self, cells: Cells) -> None:
        """From here on requests name these cells; nothing waits to be taken."""
        self.cells, self._thinning = cells, Thinning(self._splits)

    def take(self) -> JoinOutput:
        """All since the last call."""
        counts, bad_delays = self._changes.take(self.cells)
        self.pending.clear()
        of_predictions = (self._error, self._prediction, self._latency, self._model_latency)
        kinds = (self._accuracy, *of_predictions, self._labelling)
        outcomes = [column for kind in kinds for column in kind.take(self.cells)]
        return JoinOutput(tuple(outcomes), bad_delays, counts, self._texts.take())

    def on_predictions(
        self, predictions: Predictions, read: Integers, requests: Requests, scored_at: Integers, values: Values
    ) -> Flags:
        """What the predictions at places `read` say by themselves; which of them have no split. Shape (n,) each.

        `scored_at`: as far as it is known, in milliseconds since the epoch; `values`: what was predicted.
        """
        cell, is_error = requests.cell, predictions.is_error[read]
        self._changes.note(PREDICTED, cell)
        self._changes.note(ERRORS, cell, is_error)
        self._changes.note(LATE, cell, requests.late)
        told = predictions.scored_at[read] > 0
        timed = told & (predictions.requested_at[read] > 0)
        waited = scored_at - known_times(predictions.requested_at[read], scored_at)
        self._changes.note(LATENCIES, cell, timed, buckets_of(waited))
        sized = told & (predictions.batch_size[read] > 0)
        with np.errstate(over="ignore", invalid="ignore"):  # a foreign system may say anything
            model_seconds = predictions.model_seconds[read] * predictions.batch_size[read]
        self._changes.note(MODEL_LATENCIES, cell, sized, buckets_of(_milliseconds(model_seconds)))
        takes = self._takes(requests)
        self.left_out["late"] += int(np.count_nonzero(requests.late & takes))
        self.left_out["thinned"] += int(np.count_nonzero(~takes & self._thinning.thins(self.cells, cell)))
        gives = np.flatnonzero(takes & ~requests.late)
        if len(gives):
            answered = values.part(gives)
            self._prediction.add(requests.part(gives), scored_at[gives], value=as_doubles(answered))
            rollout = max(self.cells[number].rollout for number in np.unique(cell[gives]).tolist())
            self._texts.note(answered, predictions.value, read[gives], rollout)
            first = gives[predictions.batch_index[read[gives]] == 0]
            self._error.add(requests.part(first), scored_at[first], bad=is_error[first])
            batches = requests._replace(entity=requests.order)
            self._durations(self._latency, batches, first[timed[first]], scored_at, waited / 1000)
            self._durations(self._model_latency, batches, first[sized[first]], scored_at, model_seconds)
        return ~self._thinning.is_attributed(self.cells, cell)

    def on_first_labels(self, requests: Requests, time: Integers, answered: Flags, right: Flags) -> None:
        """Requests got their first label, at `time` (ms since the epoch). What is no answer gives no outcome."""
        bad = answered & ~right
        cell, buckets = requests.cell, buckets_of(np.maximum(time - requests.routed_at, 0))
        self._changes.note(DELAYS, cell, None, buckets)
        self._changes.note(BAD_DELAYS, cell, bad & self._thinning.is_stable(self.cells, cell), buckets)
        gives = self._gives(requests)
        gives = gives[answered[gives]]
        for number, count in zip(*map(np.ndarray.tolist, np.unique(cell[gives], return_counts=True)), strict=True):
            found = self.cells[number]
            self.pending[Pending(found.epoch, found.digest, found.rollout, ACCURACY)] += count
        self._accuracy.add(requests.part(gives), time[gives], bad=bad[gives])

    def on_labels(self, cell: Integers, right: Flags) -> None:
        """The truth about requests became known, or another than before."""
        self._changes.note(CORRECT, cell, right)

    def on_revised(self, cell: Integers, were_right: Flags) -> None:
        """Requests got another label than before, by which they were right or not."""
        self._changes.note(REVISED, cell)
        self._changes.note(INCORRECT, cell, were_right)

    def gives_any(self, first: int, last: int) -> bool:
        """Whether requests of windows that begin in [first, last), ms since the epoch, can give outcomes."""
        return any(first <= cell.window < last and cell.rollout > 0 for cell in self.cells)

    def on_matured(self, requests: Requests, time: Integers, revised: Flags, delay: Doubles) -> None:
        """No label counts any more since `time`, ms since the epoch; `delay`: of the first one in ms, NaN if none came.

        Of a window in the order of the hashes, so that it does not matter in which order the requests are held.
        """
        gives = self._gives(requests)
        gives = gives[np.lexsort((requests.routed_at[gives], requests.order[gives]))]
        self._labelling.add(requests.part(gives), time[gives], bad=revised[gives], value=delay[gives])

    def _durations(
        self, kind: NewOutcomes, batches: Requests, chosen: Integers, time: Integers, seconds: Doubles
    ) -> None:
        """Those that are durations at all: the clocks of another system may say anything."""
        chosen = chosen[np.isfinite(seconds[chosen]) & (seconds[chosen] >= 0)]
        kind.add(batches.part(chosen), time[chosen], value=seconds[chosen])

    def _gives(self, requests: Requests) -> Integers:
        """The places of those that give outcomes."""
        return np.flatnonzero(self._takes(requests) & ~requests.late)

    def _takes(self, requests: Requests) -> Flags:
        return self._thinning.takes(self.cells, requests.cell, requests.order)


def _milliseconds(seconds: Doubles) -> Integers:
    with np.errstate(over="ignore"):
        product = seconds * 1000
    return np.clip(np.nan_to_num(product, nan=0.0), 0, LATEST).astype(np.int64)
