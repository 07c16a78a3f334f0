"""A batch recount with lists and dictionaries, written without the join: what evidence has to say about both inputs."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf, isfinite
from typing import NamedTuple

from xxhash import xxh3_64_intdigest, xxh3_128_intdigest

from stream_router.core.evidence import Evidence, Outcome
from stream_router.core.histogram import bucket_of, lower_bound
from stream_router.core.joining.label import Label
from stream_router.core.joining.split_history import SplitHistory
from stream_router.core.policy import Policy
from stream_router.core.scoring.prediction import Prediction, Value

CountKey = tuple[int, int, str, str]
COUNTED = ("predicted", "errors", "labelled", "correct", "revised", "late")
Bad = Callable[[Value, Value], bool]
HISTOGRAMS = ("delays", "latencies", "model_latencies")


class Recount(NamedTuple):
    """`outcomes` by kind and order hash, with None in place of NaN. `texts`: what values of predictions stand for.

    `counts`: COUNTED of each window, rollout, lane and version. `histograms`: by these and the name of the histogram,
    bucket to number. `bad_delays`: by window and bucket.
    """

    outcomes: list[Outcome]
    counts: dict[CountKey, tuple[int, ...]]
    histograms: dict[tuple[CountKey, str], dict[int, int]]
    bad_delays: dict[tuple[int, int], int]
    texts: dict[float, str]

    def without(self, kind: str) -> "Recount":
        """All but outcomes of the kind."""
        return self._replace(outcomes=[outcome for outcome in self.outcomes if outcome.metric != kind])


@dataclass
class _Row:
    prediction: Prediction
    written: int
    routed_at: int
    scored_at: int
    labels: list[Label] = field(default_factory=list)


def recount(
    predictions: Sequence[Prediction],
    labels: Sequence[Label],
    policy: Policy,
    splits: SplitHistory | None = None,
    times: Sequence[int] | None = None,
    bad: Bad | None = None,
) -> Recount:
    """Predictions and labels in the order of their offsets; `times`: Kafka timestamps of the predictions.

    All windows have matured; `bad` is what the policy names so.
    """
    rows = _rows(predictions, policy, times or [0] * len(predictions))
    _meet(rows, labels, policy)
    return _told([row for mine in rows.values() for row in mine], policy, splits or SplitHistory(), bad)


def order_of(request_id: str) -> int:
    """Higher half of its xxh3_128."""
    return _signed(xxh3_128_intdigest(request_id.encode()) >> 64)


def entity_of(key: bytes) -> int:
    return _signed(xxh3_64_intdigest(key))


def _signed(unsigned: int) -> int:
    return unsigned - 2**64 if unsigned >= 2**63 else unsigned


def _rows(predictions: Sequence[Prediction], policy: Policy, times: Sequence[int]) -> dict[str, list[_Row]]:
    rows: dict[str, list[_Row]] = {}
    for prediction, time in zip(predictions, times, strict=True):
        routed_at = prediction.routed_at or time
        scored_at = prediction.scored_at or routed_at
        mine = rows.setdefault(prediction.request_id, [])
        again = any(abs(row.routed_at - routed_at) <= policy.prediction_deadline for row in mine)
        if abs(scored_at - routed_at) <= policy.reach and not again and len(mine) < 64:
            mine.append(_Row(prediction, time, routed_at, scored_at))
    return rows


def _meet(rows: dict[str, list[_Row]], labels: Sequence[Label], policy: Policy) -> None:
    deadline = policy.prediction_deadline
    for label in labels:
        for row in rows.get(label.request_id, []):
            oldest = (row.scored_at - policy.reach) // deadline * deadline
            if oldest <= label.time <= policy.window_start(row.routed_at) + policy.window + policy.label_horizon:
                row.labels.append(label)
                break


def _told(rows: list[_Row], policy: Policy, splits: SplitHistory, bad: Bad | None) -> Recount:
    outcomes: list[Outcome] = []
    texts: dict[float, str] = {}
    sums: dict[CountKey, Counter[str]] = {}
    histograms: dict[tuple[CountKey, str], Counter[int]] = {}
    stable_bad: Counter[tuple[int, int]] = Counter()
    for row in rows:
        prediction, window = row.prediction, policy.window_start(row.routed_at)
        epoch, digest, rollout = prediction.epoch, prediction.digest, prediction.rollout
        applied = splits.in_force_at(row.routed_at, row.written)
        if epoch == 0 and not digest and applied is not None:
            epoch, digest, rollout = applied.epoch, applied.digest, rollout or applied.rollout
        counted = window, rollout, prediction.lane, prediction.model_version
        total = sums.setdefault(counted, Counter())
        late = row.scored_at - row.routed_at > policy.prediction_deadline
        total.update(predicted=1, errors=prediction.error is not None, late=late)
        found = {}
        if prediction.scored_at and prediction.requested_at:
            found["latencies"] = prediction.scored_at - prediction.requested_at
        if prediction.scored_at and prediction.batch_size:
            found["model_latencies"] = _whole(prediction.model_seconds * prediction.batch_size * 1000)
        right = [_is_right(prediction, truth, policy, bad) for truth in _truths(row)]
        if row.labels:
            delay = max(0, row.labels[0].time - row.routed_at)
            found["delays"] = delay
            revised = sum(one.value != other.value for one, other in pairwise(row.labels))
            total.update(labelled=1, correct=right[-1], revised=revised)
            if prediction.lane == "stable" and _is_answered(prediction) and not right[0]:
                stable_bad[window, bucket_of(delay)] += 1
        order = order_of(prediction.request_id)
        takes_part = rollout > 0 and (epoch or digest) and _counts(prediction.lane, epoch, digest, order, splits)
        if takes_part and not late:
            key = window, epoch, digest, rollout, prediction.lane, prediction.model_version
            outcomes += [Outcome(*key, *outcome) for outcome in _outcomes(row, order, right, policy)]
            if prediction.error is None and isinstance(prediction.value, str):
                texts[_number(prediction.value)] = prediction.value[:100]
        for name, milliseconds in found.items():
            histograms.setdefault((counted, name), Counter())[bucket_of(milliseconds)] += 1
    counts = {key: tuple(total[name] for name in COUNTED) for key, total in sums.items()}
    return Recount(
        _sorted(outcomes), counts, {key: dict(found) for key, found in histograms.items()}, dict(stable_bad), texts
    )


def _outcomes(row: _Row, order: int, right: list[bool], policy: Policy) -> Iterator[tuple[object, ...]]:
    """What one request gives: the columns of Outcome from metric on."""
    prediction, routed_at, scored_at = row.prediction, row.routed_at, row.scored_at
    keyed = prediction.key is not None and policy.assign_by == "key"
    entity = entity_of(prediction.key) if keyed else order  # type: ignore[arg-type]
    scored = order, max(0, scored_at - routed_at), scored_at
    failed = prediction.error is not None
    yield "prediction", entity, *scored, False, None if failed else _number(prediction.value)
    if prediction.batch_index == 0:
        yield "error", entity, *scored, failed, None
    if prediction.batch_index == 0 and prediction.scored_at:
        waited = scored_at - prediction.requested_at
        if prediction.requested_at and waited >= 0:
            yield "latency", order, *scored, False, waited / 1000
        spent = prediction.model_seconds * prediction.batch_size
        if prediction.batch_size and isfinite(spent) and spent >= 0:
            yield "model_latency", order, *scored, False, spent
    matured = policy.window_start(routed_at) + policy.window + policy.label_horizon
    delays = [max(0, label.time - routed_at) for label in row.labels[:1]]
    for delay in delays if _is_answered(prediction) else []:
        yield "accuracy", entity, order, delay, row.labels[0].time, not right[0], None
    first = lower_bound(bucket_of(delays[0])) if delays else None
    revised = any(one.value != other.value for one, other in pairwise(row.labels))
    yield "labelling", entity, order, matured - routed_at, matured, revised, first


def _truths(row: _Row) -> list[Value]:
    """What its labels say, of those that are equal in the words of the first."""
    said: list[Value] = []
    for label in row.labels:
        said.append(said[-1] if said and said[-1] == label.value else label.value)
    return said


def _is_right(prediction: Prediction, truth: Value, policy: Policy, bad: Bad | None) -> bool:
    value = prediction.value
    if value is None or not _is_answered(prediction):
        return False
    if bad is not None:
        return not bad(value, truth)
    if any(isinstance(each, bool | str) for each in (value, truth)) or value == truth:
        return value == truth
    far = abs(truth) if isfinite(truth) else inf  # type: ignore[arg-type]
    near = abs(value - truth) <= max(policy.tolerance, policy.relative_tolerance * far)  # type: ignore[operator]
    return near and isfinite(truth)  # type: ignore[arg-type]


def _is_answered(prediction: Prediction) -> bool:
    return prediction.error is None and prediction.value is not None


def _number(value: Value | None) -> float | None:
    number = float(xxh3_64_intdigest(value.encode()) >> 11) if isinstance(value, str) else float(value or 0)
    return None if number != number else number  # noqa: PLR0124 - NaN


def _whole(milliseconds: float) -> int:
    return int(min(max(0.0, milliseconds), 2.0**60)) if milliseconds == milliseconds else 0  # noqa: PLR0124 - NaN


def _counts(lane: str, epoch: int, digest: str, order: int, splits: SplitHistory) -> bool:
    share = splits.canary_share(epoch, digest)
    if lane != "stable" or share is None or share >= 1:
        return True
    return float(order % 2**64) / 2**64 < 20 * share / (1 - share)


def _sorted(outcomes: list[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda outcome: (outcome.metric, outcome.order, outcome.window, outcome.time))


def said(records: Iterable[Evidence]) -> Recount:
    """What the evidence says, in the same form: counts that came to nothing are left out."""
    outcomes: list[Outcome] = []
    sums: dict[CountKey, Counter[str]] = {}
    histograms: dict[tuple[CountKey, str], Counter[int]] = {}
    stable_bad: Counter[tuple[int, int]] = Counter()
    texts: dict[float, str] = {}
    for record in records:
        texts |= record.texts
        outcomes += [_nan_as_none(row) for column in record.outcomes for row in column.rows()]
        for bad in record.bad_delays:
            stable_bad.update({(bad.window, bucket): count for bucket, count in bad.delays.items()})
        for count in record.counts:
            key = count.window, count.rollout, count.lane, count.model_version
            sums.setdefault(key, Counter()).update({name: getattr(count, name) for name in COUNTED})
            for name in HISTOGRAMS:
                histograms.setdefault((key, name), Counter()).update(getattr(count, name))
    counts = {key: tuple(total[name] for name in COUNTED) for key, total in sums.items()}
    return Recount(
        _sorted(outcomes),
        {key: row for key, row in counts.items() if any(row)},
        {key: dict(found) for key, found in histograms.items() if found},
        dict(stable_bad),
        texts,
    )


def _nan_as_none(outcome: Outcome) -> Outcome:
    return outcome._replace(value=None) if outcome.value != outcome.value else outcome
