"""A batch recount with numpy, written without the join: what the evidence has to say about both inputs."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from stream_router.core.evidence import Evidence, Outcome
from stream_router.core.histogram import bucket_of
from stream_router.core.joining.label import Label
from stream_router.core.policy import Policy
from stream_router.core.scoring.prediction import Prediction

CountKey = tuple[int, int, str, str]


class Recount(NamedTuple):
    """`outcomes`: (order, bad, delay) of each, sorted. `counts`: predicted, errors, labelled, correct, revised.

    `bad_delays`: of stable, by window and bucket.
    """

    outcomes: list[tuple[int, bool, int]]
    counts: dict[CountKey, tuple[int, ...]]
    bad_delays: dict[tuple[int, int], int]


def recount(
    predictions: Sequence[Prediction], labels: Sequence[Label], policy: Policy, order: Mapping[str, int]
) -> Recount:
    """Predictions and labels in the order of their offsets; `order` maps a request id to its hash."""
    reach = policy.window + policy.label_horizon + policy.prediction_deadline
    counting = [p for p in predictions if abs((p.scored_at or p.routed_at) - p.routed_at) <= reach]
    if not counting:
        return Recount([], {}, {})
    ids, first = np.unique([prediction.request_id for prediction in counting], return_index=True)
    chosen = [counting[i] for i in first]
    routed_at = np.array([prediction.routed_at for prediction in chosen])
    scored_at = np.array([prediction.scored_at or prediction.routed_at for prediction in chosen])
    window = routed_at - routed_at % policy.window
    label_ids = np.array([label.request_id for label in labels], dtype=ids.dtype)
    at = np.minimum(np.searchsorted(ids, label_ids), len(ids) - 1)
    times = np.array([label.time for label in labels], dtype=int)
    in_time = (times <= window[at] + policy.window + policy.label_horizon) & (times >= scored_at[at] - reach)
    counts_for = (ids[at] == label_ids) & in_time
    history: dict[int, list[Label]] = {}
    for position in np.flatnonzero(counts_for):
        history.setdefault(int(at[position]), []).append(labels[position])
    outcomes, stable_bad, rows = [], [], []
    for number, prediction in enumerate(chosen):
        mine = history.get(number, [])
        right = [prediction.value is not None and prediction.value == label.value for label in mine]
        revised = sum(one.value != other.value for one, other in pairwise(mine))
        rows.append((1, prediction.error is not None, len(mine) > 0, bool(mine) and right[-1], revised))
        if mine:
            delay = max(0, mine[0].time - prediction.routed_at)
            if prediction.rollout > 0:
                outcomes.append((order[prediction.request_id], not right[0], delay))
            if prediction.lane == "stable" and not right[0]:
                stable_bad.append((int(window[number]), bucket_of(delay)))
    keys = [(int(w), p.rollout, p.lane, p.model_version) for w, p in zip(window, chosen, strict=True)]
    names = sorted(set(keys))
    sums = np.zeros((len(names), 5), dtype=int)
    np.add.at(sums, [names.index(key) for key in keys], np.array(rows, dtype=int))
    counts = {name: tuple(map(int, row)) for name, row in zip(names, sums, strict=True)}
    return Recount(sorted(outcomes), counts, dict(Counter(stable_bad)))


def said(records: Iterable[Evidence]) -> Recount:
    """What the evidence says, in the same form: counts that came to nothing are left out."""
    outcomes: list[Outcome] = []
    stable_bad: Counter[tuple[int, int]] = Counter()
    sums: dict[CountKey, Counter[str]] = {}
    for record in records:
        outcomes += [row for column in record.outcomes for row in column.rows()]
        for bad in record.bad_delays:
            stable_bad.update({(bad.window, bucket): count for bucket, count in bad.delays.items()})
        for count in record.counts:
            total = sums.setdefault((count.window, count.rollout, count.lane, count.model_version), Counter())
            changes: dict[str, Any] = {name: getattr(count, name) for name in _COUNTED}
            changes["delays"], changes["latencies"] = sum(count.delays.values()), sum(count.latencies.values())
            total.update(changes)
    for total in sums.values():
        assert total["delays"] == total["labelled"]
        assert total["latencies"] <= total["predicted"]
    counts = {key: tuple(total[name] for name in _COUNTED) for key, total in sums.items()}
    return Recount(
        sorted((outcome.order, outcome.bad, outcome.delay) for outcome in outcomes),
        {key: row for key, row in counts.items() if any(row)},
        dict(stable_bad),
    )


_COUNTED = ("predicted", "errors", "labelled", "correct", "revised")
