"""The join: predictions and labels of one input partition meet by request id, exactly once whatever is replayed.

Each side arrives in the order of its offsets, the two sides in any order. Everything that is said is a function of the
two logs alone; what has been said already is told from the positions `base` up to which a predecessor has spoken: a
thing is new exactly if a record that causes it lies at or beyond them.

With the policy's reach = window + label_horizon + prediction_deadline, these never count, whoever reads them and when:
- a prediction scored more than reach after (or before) it was routed,
- a label later than label_horizon after the end of its prediction's window,
- a label more than reach older than its prediction.
So a row can be forgotten once the clock is reach past its routing (or past the label that waits alone).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from xxhash import xxh3_64_intdigest

from stream_router.core.evidence import ACCURACY, BadDelays, Outcome, Positions, Tally, in_columns
from stream_router.core.histogram import bucket_of
from stream_router.core.joining.expiry import Expiry
from stream_router.core.joining.join_output import CountKey, JoinOutput, counts_of
from stream_router.core.joining.label import Label
from stream_router.core.lane import STABLE
from stream_router.core.scoring.prediction import Prediction, Value, agrees

Kind = Literal["joined", "duplicate", "revised", "orphan", "expired"]
"""joined: a first label. duplicate: a prediction, or the same label, again. revised: another label than before.
orphan: a label that no prediction came for. expired: a prediction or a label too late to count."""

_BUCKETS: Final = 128


@dataclass(slots=True)
class _Row:
    """A prediction, the time before which no label counts for it, and its newest label: None before the first."""

    count_key: CountKey
    routed_at: int
    oldest_label: int
    entity: int
    value: Value | None
    new: bool
    label: Value | None = None


class Join:
    """State: one row per request within the horizon, joined ones too, and the labels whose prediction has not come.

    Rows are forgotten by `on_watermark`. Not thread-safe. A request id that comes again after its row has been
    forgotten is another request.
    """

    def __init__(self, policy, base, splits=None, early_limit=1_000_000) -> None:
        self.kinds: Counter[Kind] = Counter()
        self._policy, self._base = policy, base
        self._rows: dict[str, _Row] = {}
        self._early: dict[str, list[Label]] = {}
        width = policy.reach // _BUCKETS
        self._row_expiry, self._early_expiry = Expiry(width), Expiry(width)
        self._next_prediction = self._next_label = 0
        self._count_keys: dict[CountKey, CountKey] = {}
        self._outcomes: list[Outcome] = []
        self._bad_delays: dict[int, Counter[int]] = {}
        self._changes: dict[CountKey, Tally] = {}

    @property
    def rows(self) -> int:
        """Predictions held, labelled or not."""
        return len(self._rows)

    @property
    def early(self) -> int:
        """Requests whose label came before their prediction."""
        return len(self._early)

    def on_predictions(self, predictions: Iterable[tuple[int, Prediction]]) -> None:
        """Offsets and predictions, offsets ascending; what was seen before is passed over."""
        p = predictions
        rows = [
            (
                int(p.offset[i]),
                Prediction(
                    request_id=p.request_id[i],
                    key=p.entity[i],
                    lane=o.lane,
                    rollout=o.rollout,
                    epoch=o.epoch,
                    digest=o.digest,
                    routed_at=int(p.routed_at[i]),
                    requested_at=int(p.requested_at[i]),
                    scored_at=int(p.scored_at[i]),
                    model_version=o.model_version,
                    model_digest=None,
                    batch_id="",
                    batch_index=0,
                    batch_size=0,
                    model_seconds=0.0,
                    value=p.value[i],
                    error="e" if p.is_error[i] else None,
                ),
            )
            for i, o in enumerate(p.origin)
        ]
        for offset, prediction in rows:
            if offset >= self._next_prediction:
                self._next_prediction = offset + 1
                self._on_prediction(offset, prediction, self._is_new(offset, self._base.predictions))

    def on_labels(self, labels: Iterable[Label]) -> None:
        """Labels, offsets ascending; what was seen before is passed over."""
        labels = [
            Label(labels.request_id[i], labels.value[i], int(labels.time[i]), int(labels.offset[i]))
            for i in range(len(labels))
        ]
        for label in labels:
            if label.offset >= self._next_label:
                self._next_label = label.offset + 1
                row = self._rows.get(label.request_id)
                if row is not None:
                    self._on_label(row, label)
                else:
                    self._early.setdefault(label.request_id, []).append(label)
                    bucket = self._early_expiry.bucket(label.time)
                    bucket.label = min(bucket.label, label.offset)
                    bucket.request_ids.append(label.request_id)

    def on_watermark(self, clock: int) -> None:
        """Forget what can change nothing any more, all inputs up to `clock` (ms since the epoch) having been read."""
        before = clock - self._policy.kept_for
        for request_id in self._row_expiry.expire(before):
            self._rows.pop(request_id, None)
        for request_id in self._early_expiry.expire(before):
            waiting = self._early.pop(request_id, [])
            kept = [label for label in waiting if label.time >= before]
            self.kinds["orphan"] += len(waiting) - len(kept)
            if kept:
                self._early[request_id] = kept
        for key in [key for key in self._count_keys if key.window + self._policy.window < before]:
            del self._count_keys[key]

    @property
    def pending(self):
        from collections import namedtuple

        P = namedtuple("P", "epoch digest rollout metric")
        return Counter(P(o.epoch, o.digest, o.rollout, o.metric) for o in self._outcomes)

    def take(self) -> JoinOutput:
        """All that came about since the last call."""
        bad_delays = [BadDelays(window, dict(delays)) for window, delays in self._bad_delays.items()]
        output = JoinOutput(in_columns(self._outcomes), bad_delays, counts_of(self._changes))
        self._outcomes, self._bad_delays, self._changes = [], {}, {}
        return output

    def rebuild_from(self, positions: Positions) -> Positions:
        """Where a successor that begins at `positions` has to read from to hold the same rows."""
        rows, early = self._row_expiry.lowest(), self._early_expiry.lowest()
        return Positions(min(positions.predictions, rows[0]), min(positions.ground_truth, rows[1], early[1]))

    def _is_new(self, offset: int, base: int) -> bool:
        return offset >= base

    def _on_prediction(self, offset: int, prediction: Prediction, new: bool) -> None:
        request_id, routed_at = prediction.request_id, prediction.routed_at
        scored_at = prediction.scored_at or routed_at
        if request_id in self._rows or abs(scored_at - routed_at) > self._policy.reach:
            self.kinds["duplicate" if request_id in self._rows else "expired"] += new
            return
        count_key = self._count_key(prediction)
        entity = prediction.key if self._policy.assign_by == "key" else None
        hashed = request_id.encode() if entity is None else entity
        value = prediction.value if prediction.error is None else None
        oldest_label = scored_at - self._policy.reach
        row = _Row(count_key, routed_at, oldest_label, _signed_hash(hashed), value, new)
        self._rows[request_id] = row
        bucket = self._row_expiry.bucket(routed_at)
        bucket.prediction = min(bucket.prediction, offset)
        bucket.request_ids.append(request_id)
        if new:
            change = self._change(count_key)
            change.predicted += 1
            change.errors += prediction.error is not None
            if prediction.scored_at > 0 and prediction.requested_at > 0:
                change.latencies[bucket_of(prediction.scored_at - prediction.requested_at)] += 1
        for label in self._early.pop(request_id, ()):
            self._on_label(row, label)

    def _on_label(self, row: _Row, label: Label) -> None:
        new = row.new or self._is_new(label.offset, self._base.ground_truth)
        before, last = row.label, row.count_key.window + self._policy.matures_after
        if not row.oldest_label <= label.time <= last:
            self.kinds["expired"] += new
            return
        if before is not None and before == label.value:
            self.kinds["duplicate"] += new
            return
        row.label = label.value
        correct = agrees(row.value, label.value)
        if before is None:
            bucket = self._row_expiry.bucket(row.routed_at)
            bucket.label = min(bucket.label, label.offset)
        if not new:
            return
        change = self._change(row.count_key)
        change.correct += correct
        if before is not None:
            self.kinds["revised"] += 1
            change.revised += 1
            change.correct -= agrees(row.value, before)
        else:
            self.kinds["joined"] += 1
            delay = max(0, label.time - row.routed_at)
            change.labelled += 1
            change.delays[bucket_of(delay)] += 1
            self._first_label(row, label, delay, bad=not correct)

    def _first_label(self, row: _Row, label: Label, delay: int, *, bad: bool) -> None:
        key = row.count_key
        if key.rollout > 0:
            order = _signed_hash(label.request_id.encode())
            self._outcomes.append(
                Outcome(
                    window=key.window,
                    epoch=key.epoch,
                    digest=key.digest,
                    rollout=key.rollout,
                    lane=key.lane,
                    model_version=key.model_version,
                    metric=ACCURACY,
                    entity=row.entity,
                    order=order,
                    delay=delay,
                    time=label.time,
                    bad=bad,
                )
            )
        if bad and key.lane == STABLE:
            self._bad_delays.setdefault(key.window, Counter())[bucket_of(delay)] += 1

    def _count_key(self, prediction: Prediction) -> CountKey:
        """One object for all rows that are counted together."""
        key = CountKey(
            self._policy.window_start(prediction.routed_at),
            prediction.epoch,
            prediction.digest,
            prediction.rollout,
            prediction.lane,
            prediction.model_version,
        )
        return self._count_keys.setdefault(key, key)

    def _change(self, key: CountKey) -> Tally:
        change = self._changes.get(key)
        if change is None:
            change = self._changes[key] = Tally()
        return change


def _signed_hash(data: bytes) -> int:
    """xxh3_64 as Avro's long, which is signed."""
    unsigned = xxh3_64_intdigest(data)
    return unsigned - 2**64 if unsigned >= 2**63 else unsigned
