"""Logs of predictions and labels, and owners of a partition who read them, flush, die and take over."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st
from support.recount import Bad, Recount, recount, said

from stream_router.core.evidence import Evidence, Positions
from stream_router.core.joining.columns import Labels, Origin, Predictions
from stream_router.core.joining.join import Join
from stream_router.core.joining.label import Label
from stream_router.core.joining.split_history import SplitHistory
from stream_router.core.policy import Policy
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.scoring.prediction import Prediction

POLICY = Policy(window=10_000, label_horizon=50_000, prediction_deadline=20_000)
REACH = 80_000
HORIZON = POLICY.window + POLICY.label_horizon
BEGIN = 1_000_000
NOWHERE = Positions(0, 0)
WRITTEN_AFTER = 3_000
"""Milliseconds from a split's time to its record's."""


def split(epoch: int, canary: float, rollout: int, time: int) -> AppliedSplit:
    raw = f'{{"stable":{1 - canary},"canary":{canary}}}'.encode()
    return AppliedSplit(raw=raw, canary=canary, epoch=epoch, rollout=rollout, time=time)


SPLITS = [
    split(1, 0.0, 0, BEGIN + 50_000),
    split(2, 0.02, 1, BEGIN + 150_000),
    split(3, 0.5, 1, BEGIN + 200_000),
    split(4, 0.0, 2, BEGIN + 250_000),
]
UNKNOWN = split(9, 0.1, 1, 0)


def history(splits: Sequence[AppliedSplit] = SPLITS) -> SplitHistory:
    known = SplitHistory()
    for applied in splits:
        known.add(applied, applied.time + WRITTEN_AFTER)
    return known


def prediction(request_id: str, **changes: object) -> Prediction:
    plain = Prediction(
        request_id=request_id,
        key=None,
        lane="stable",
        rollout=1,
        epoch=UNKNOWN.epoch,
        digest=UNKNOWN.digest,
        routed_at=BEGIN,
        requested_at=BEGIN - 5,
        scored_at=BEGIN + 5,
        model_version="v1",
        model_digest=None,
        batch_id="b",
        batch_index=0,
        batch_size=1,
        model_seconds=0.0,
        value=True,
        error=None,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def predictions(*those: Prediction, first: int = 0, times: Sequence[int] | None = None) -> Predictions:
    """In columns, at offsets from the first on; Kafka timestamps are those of scoring where none are given."""

    def column(name: str) -> np.ndarray:
        return np.array([getattr(p, name) for p in those], np.int64)

    return Predictions(
        offset=np.arange(first, first + len(those)),
        time=np.array([p.scored_at or p.routed_at for p in those] if times is None else times, np.int64),
        request_id=[p.request_id for p in those],
        entity=[p.key for p in those],
        origin=[Origin(p.epoch, p.digest, p.rollout, p.lane, p.model_version) for p in those],
        routed_at=column("routed_at"),
        requested_at=column("requested_at"),
        scored_at=column("scored_at"),
        batch_index=column("batch_index"),
        batch_size=column("batch_size"),
        model_seconds=np.array([p.model_seconds for p in those], np.float64),
        value=[p.value if p.error is None else None for p in those],
        is_error=np.array([p.error is not None for p in those], np.bool_),
    )


def labels(*those: Label) -> Labels:
    """In columns, at the offsets that they say."""
    return Labels(
        offset=np.array([label.offset for label in those], np.int64),
        time=np.array([label.time for label in those], np.int64),
        request_id=[label.request_id for label in those],
        value=[label.value for label in those],
    )


@dataclass(frozen=True)
class World:
    """Both logs in the order of their offsets, which is that of their times."""

    times: tuple[int, ...]
    predictions: tuple[Prediction, ...]
    labels: tuple[Label, ...]

    @classmethod
    def of(cls, predictions: Sequence[tuple[int, Prediction]], labels: Sequence[Label]) -> "World":
        in_order = sorted(predictions, key=lambda timed: timed[0])
        return cls(
            tuple(time for time, _ in in_order),
            tuple(prediction for _, prediction in in_order),
            tuple(
                label._replace(offset=offset)
                for offset, label in enumerate(sorted(labels, key=lambda label: label.time))
            ),
        )

    def and_labels(self, more: Sequence[Label]) -> "World":
        return World.of(list(zip(self.times, self.predictions, strict=True)), [*self.labels, *more])

    policy: Policy = POLICY
    bad: Bad | None = None

    @property
    def recounted(self) -> Recount:
        return recount(self.predictions, self.labels, self.policy, history(), self.times, self.bad)

    def next_time(self, positions: Positions) -> int:
        """No record from the positions on is older."""
        times = [*self.times[positions.predictions :][:1]]
        times += [label.time for label in self.labels[positions.ground_truth :][:1]]
        return min(times, default=BEGIN + 20 * REACH)


VALUES = [True, False, 1, 1.0, 2, 0.5, "yes", "no", float("inf"), None]


@st.composite
def worlds(draw: st.DrawFn, *, apart: bool = True) -> World:
    """Predictions once, twice, late, too late or of another system, of ids that come again.

    Labels early, late, too late, twice, revised, never, or of nothing. `apart`: requests of one id are so far from
    each other that no label could be of both.
    """
    predictions, labels = [], []
    for number in range(draw(st.integers(1, 6))):
        name = f"r{number}"
        for routed_at in draw(_routings(apart=apart)):
            answer = draw(_answers(name, routed_at))
            for delay, shift in draw(st.lists(st.tuples(st.integers(-2, 100), st.integers(-9, 9)), max_size=2)):
                scored_at = routed_at + 1000 * delay
                again = replace(answer, routed_at=routed_at + 1000 * shift, scored_at=scored_at)
                if delay == 0 and shift == 0:  # a system that does not tell when
                    untold = draw(st.booleans())
                    again = replace(again, scored_at=0, routed_at=0 if untold else routed_at)
                predictions.append((scored_at, again))
            ages = st.tuples(st.integers(-120, 90), st.sampled_from(VALUES[:-1]))
            for age, truth in draw(st.lists(ages, max_size=4)):
                labels.append(Label(name, truth, routed_at + 1000 * age, 0))
    if not apart:  # the same again is told apart by the label's time alone, if at all
        seen, kept = set(), []
        for label in labels:
            same = label.request_id, label.value, label.time // POLICY.prediction_deadline
            kept += [label] * (same not in seen)
            seen.add(same)
        labels = kept
    return World.of(predictions, labels)


@st.composite
def answered_worlds(draw: st.DrawFn) -> World:
    """Requests of one rollout, each answered at once and labelled once, twice or not at all."""
    predictions, labels = [], []
    for number, second in enumerate(draw(st.lists(st.integers(0, 250), min_size=3, max_size=9))):
        at = BEGIN + 1000 * second
        predictions.append((at, prediction(f"r{number}", lane="canary", routed_at=at, scored_at=at)))
        told = draw(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=2))
        labels += [Label(f"r{number}", value, at + 1000 * age, 0) for age, value in told]
    return World.of(predictions, labels)


@st.composite
def _routings(draw: st.DrawFn, *, apart: bool) -> list[int]:
    if not apart:
        return [BEGIN + 1000 * second for second in draw(st.lists(st.integers(0, 200), max_size=3))]
    first = BEGIN + 1000 * draw(st.integers(0, 300))
    return [first + turn * (3 * REACH + 1000 * draw(st.integers(0, 50))) for turn in range(draw(st.integers(1, 2)))]


@st.composite
def _answers(draw: st.DrawFn, name: str, routed_at: int) -> Prediction:
    value = draw(st.sampled_from(VALUES))
    applied = draw(st.sampled_from([*SPLITS, UNKNOWN, None]))
    return prediction(
        name,
        lane=draw(st.sampled_from(["stable", "canary"])),
        rollout=draw(st.integers(0, 2)),
        epoch=0 if applied is None else applied.epoch,
        digest="" if applied is None else applied.digest,
        key=draw(st.sampled_from([None, b"entity"])),
        requested_at=draw(st.sampled_from([0, routed_at - 5, routed_at + 15_000])),
        batch_index=draw(st.integers(0, 1)),
        batch_size=draw(st.integers(0, 2)),
        model_seconds=draw(st.sampled_from([0.25, 0.0, -0.5, float("inf"), float("nan")])),
        value=value,
        error="failed" if value is None else None,
    )


Maker = Callable[..., Join]
"""Takes what Join takes."""


class Run:
    """An owner of a partition and its successors over one world; a property holds for `said` at the end."""

    def __init__(self, world: World, make: Maker = Join) -> None:
        self.world, self.make = world, make
        self.written: list[Evidence] = []
        self.base = self.start = NOWHERE
        self.watermarked = self.told_until = 0
        self.crash()

    def crash(self) -> None:
        """All that was not flushed is lost; the successor reads again from where the last flush says."""
        world = self.world
        self.join = self.make(world.policy, self.base, history(), told_until=self.told_until, bad=world.bad)
        self.at, self.watermarked = self.start, self.told_until

    def restore(self) -> None:
        """A successor begins from what a file holds, where the last flush left off."""
        if not self.rebuilt:
            return
        self.flush()
        file = io.BytesIO()
        np.savez(file, **self.join.state())
        file.seek(0)
        self.join = Join.restored(
            self.world.policy,
            self.base,
            history(),
            np.load(file, allow_pickle=False),
            told_until=self.told_until,
            bad=self.world.bad,
        )

    def read(self, side: str, count: int) -> None:
        first = getattr(self.at, side)
        last = min(first + count, len(self.world.predictions if side == "predictions" else self.world.labels))
        self.show(side, first, last)
        self.at = self.at._replace(**{side: last})

    def show(self, side: str, first: int, last: int) -> None:
        if side == "predictions":
            shown = self.world.predictions[first:last]
            self.join.on_predictions(predictions(*shown, first=first, times=self.world.times[first:last]))
        else:
            self.join.on_labels(labels(*self.world.labels[first:last]))

    def watermark(self) -> None:
        if self.rebuilt:
            self.watermarked = max(self.watermarked, self.world.next_time(self.at))
            self.join.on_watermark(self.watermarked)

    @property
    def rebuilt(self) -> bool:
        return all(at >= base for at, base in zip(self.at, self.base, strict=True))

    def flush(self) -> None:
        if self.rebuilt:
            self.written += self.join.take().records(
                by="w", written_at=0, partition=0, positions=self.at, watermark=None
            )
            self.base, self.start = self.at, self.join.rebuild_from(self.at)
            self.told_until = self.watermarked

    def act(self, action: str, count: int) -> None:
        if action in ("predictions", "ground_truth"):
            self.read(action, count)
        else:
            getattr(self, action)()

    def finish(self) -> Recount:
        for side in ("predictions", "ground_truth"):
            self.read(side, len(self.world.predictions) + len(self.world.labels))
        self.watermark()
        self.flush()
        return said(self.written)


Actions = list[tuple[str, int]]


def steps(*actions: str, reads: int = 5) -> st.SearchStrategy[Actions]:
    return st.lists(st.tuples(st.sampled_from(actions), st.integers(1, reads)), max_size=30)


PEACEFUL = steps("predictions", "ground_truth", "flush", "watermark", "restore")
EVENTFUL = steps("predictions", "ground_truth", "flush", "watermark", "restore", "crash")


def run(world: World, actions: Actions, make: Maker = Join) -> Recount:
    going = Run(world, make)
    for action, count in actions:
        going.act(action, count)
    return going.finish()
