"""Properties of the join: exact, whatever the order of the inputs, and whoever dies when."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from support.recount import Recount, recount, said
from xxhash import xxh3_64_intdigest

from stream_router.core.evidence import BadDelays, Evidence, Positions
from stream_router.core.histogram import bucket_of
from stream_router.core.joining.join import Join
from stream_router.core.joining.join_output import JoinOutput
from stream_router.core.joining.label import Label
from stream_router.core.policy import Policy
from stream_router.core.scoring.prediction import Prediction

POLICY = Policy(window=10_000, label_horizon=50_000, prediction_deadline=20_000)
REACH = 80_000
HORIZON = POLICY.window + POLICY.label_horizon
BEGIN = 1_000_000
NOWHERE = Positions(0, 0)


@dataclass(frozen=True)
class World:
    """Both logs in the order of their offsets: predictions by scored_at, labels by time."""

    predictions: tuple[Prediction, ...]
    labels: tuple[Label, ...]

    @classmethod
    def of(cls, predictions: Sequence[Prediction], labels: Sequence[Label]) -> "World":
        in_order = sorted(labels, key=lambda label: label.time)
        return cls(
            tuple(sorted(predictions, key=lambda prediction: prediction.scored_at)),
            tuple(label._replace(offset=offset) for offset, label in enumerate(in_order)),
        )

    @property
    def recounted(self) -> Recount:
        return recount(
            self.predictions, self.labels, POLICY, {p.request_id: order_of(p.request_id) for p in self.predictions}
        )

    def next_time(self, positions: Positions) -> int:
        """No record from the positions on is older."""
        times = [p.scored_at for p in self.predictions[positions.predictions :][:1]]
        times += [label.time for label in self.labels[positions.ground_truth :][:1]]
        return min(times, default=BEGIN + 10 * REACH)


def order_of(request_id: str) -> int:
    unsigned = xxh3_64_intdigest(request_id.encode())
    return unsigned - 2**64 if unsigned >= 2**63 else unsigned


def prediction(request_id: str, **changes: object) -> Prediction:
    plain = Prediction(
        request_id=request_id,
        key=None,
        lane="stable",
        rollout=1,
        epoch=1,
        digest="0" * 12,
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


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Predictions once, twice or too late; labels early, late, too late, twice, revised, never, or of nothing."""
    predictions, labels = [], []
    for number in range(draw(st.integers(1, 8))):
        name, routed_at = f"r{number}", BEGIN + 1000 * draw(st.integers(0, 300))
        value = draw(st.sampled_from([True, False, None]))
        answer = prediction(
            name,
            lane=draw(st.sampled_from(["stable", "canary"])),
            rollout=draw(st.integers(0, 2)),
            routed_at=routed_at,
            value=value,
            error="failed" if value is None else None,
        )
        delays = draw(st.lists(st.integers(0, 100), max_size=2))
        predictions += [replace(answer, scored_at=routed_at + 1000 * delay) for delay in delays]
        ages = draw(st.lists(st.tuples(st.integers(-90, 90), st.booleans()), max_size=3))
        labels += [Label(name, truth, routed_at + 1000 * age, 0) for age, truth in ages]
    return World.of(predictions, labels)


class Run:
    """An owner of a partition and its successors over one world; a property holds for `said` at the end."""

    def __init__(self, world: World, make: Callable[[Policy, Positions], Join] = Join) -> None:
        self.world, self.make = world, make
        self.written: list[Evidence] = []
        self.base = self.start = NOWHERE
        self.crash()

    def crash(self) -> None:
        """All that was not flushed is lost; the successor reads again from where the last flush says."""
        self.join, self.at = self.make(POLICY, self.base), self.start

    def read(self, side: str, count: int) -> None:
        first = getattr(self.at, side)
        if side == "predictions":
            records = list(enumerate(self.world.predictions))[first : first + count]
            self.join.on_predictions(records)
        else:
            records = self.world.labels[first : first + count]
            self.join.on_labels(records)
        self.at = self.at._replace(**{side: first + len(records)})

    def watermark(self) -> None:
        if self.rebuilt:
            self.join.on_watermark(self.world.next_time(self.at))

    @property
    def rebuilt(self) -> bool:
        return all(at >= base for at, base in zip(self.at, self.base, strict=True))

    def flush(self) -> None:
        if self.rebuilt:
            self.written += self.join.take().records(
                by="w", written_at=0, partition=0, positions=self.at, watermark=None
            )
            self.base, self.start = self.at, self.join.rebuild_from(self.at)

    def act(self, action: str, count: int) -> None:
        if action in ("predictions", "ground_truth"):
            self.read(action, count)
        else:
            getattr(self, action)()

    def finish(self) -> Recount:
        for side in ("predictions", "ground_truth"):
            self.read(side, len(self.world.predictions) + len(self.world.labels))
        self.flush()
        return said(self.written)


def steps(*actions: str) -> st.SearchStrategy[list[tuple[str, int]]]:
    return st.lists(st.tuples(st.sampled_from(actions), st.integers(1, 5)), max_size=30)


PEACEFUL = steps("predictions", "ground_truth", "flush", "watermark")
EVENTFUL = steps("predictions", "ground_truth", "flush", "watermark", "crash")


def run(world: World, actions: list[tuple[str, int]], make: Callable[[Policy, Positions], Join] = Join) -> Recount:
    going = Run(world, make)
    for action, count in actions:
        going.act(action, count)
    return going.finish()


@given(worlds(), PEACEFUL)
def test_the_result_does_not_depend_on_how_the_inputs_interleave(world: World, actions: list[tuple[str, int]]) -> None:
    assert run(world, actions) == run(world, [("predictions", 100), ("ground_truth", 100)])
    assert run(world, actions) == run(world, [("ground_truth", 100), ("predictions", 100)])


@settings(max_examples=500)
@given(worlds(), EVENTFUL)
def test_evidence_equals_a_batch_recount_whoever_dies_when(world: World, actions: list[tuple[str, int]]) -> None:
    assert run(world, actions) == world.recounted


@given(worlds(), EVENTFUL)
def test_no_request_has_two_outcomes(world: World, actions: list[tuple[str, int]]) -> None:
    orders = [order for order, _, _ in run(world, actions).outcomes]
    assert len(orders) == len(set(orders))


@given(worlds(), EVENTFUL)
def test_reading_again_from_any_earlier_point_changes_nothing(world: World, actions: list[tuple[str, int]]) -> None:
    going = Run(world)
    for action, count in actions:
        going.act(action, count)
        going.join.on_predictions(list(enumerate(world.predictions))[: going.at.predictions])
        going.join.on_labels(world.labels[: going.at.ground_truth])
    assert going.finish() == world.recounted


@given(worlds(), EVENTFUL, st.booleans())
def test_a_revision_changes_windows_but_no_outcome(world: World, actions: list[tuple[str, int]], value: bool) -> None:
    labelled = {label.request_id: label for label in world.labels}
    revisions = [label._replace(value=value) for label in labelled.values()]
    revised = World.of(world.predictions, [*world.labels, *revisions])
    assert run(revised, actions).outcomes == world.recounted.outcomes
    assert run(revised, actions).counts == revised.recounted.counts


@given(worlds(), EVENTFUL)
def test_an_expired_label_never_counts(world: World, actions: list[tuple[str, int]]) -> None:
    expired = [
        Label(p.request_id, value, p.routed_at + HORIZON + 1, 0) for p in world.predictions for value in (True, False)
    ]
    assert run(World.of(world.predictions, [*world.labels, *expired]), actions) == world.recounted


def everything_new(policy: Policy, base: Positions) -> Join:
    """Planted: a successor says again what its predecessor said."""
    join = Join(policy, base)
    join._base = NOWHERE  # noqa: SLF001 - planted
    return join


class LabelsAloneAreNew(Join):
    """Planted: a prediction after the positions does not make its earlier label news."""

    def _on_label(self, row, label):
        row.new = False
        super()._on_label(row, label)


class RebuildsNothing(Join):
    """Planted: a successor that reads from the positions on only."""

    def rebuild_from(self, positions):
        return positions


class ForgetsEarly(Join):
    """Planted: rows go when their window's labels may still come."""

    def on_watermark(self, clock):
        super().on_watermark(clock + 2 * REACH + 60_000)


class BelievesTheLast(Join):
    """Planted: the newest label makes the outcome, whatever the first said."""

    def _first_label(self, row, label, delay, *, bad):
        super()._first_label(row, label, delay, bad=not bad)


@pytest.mark.parametrize(
    "planted",
    [everything_new, LabelsAloneAreNew, RebuildsNothing, ForgetsEarly, BelievesTheLast],
    ids=lambda p: p.__name__,
)
def test_the_recount_catches_a_planted_fault(planted: Callable[[Policy, Positions], Join]) -> None:
    try:
        find(
            st.tuples(worlds(), EVENTFUL),
            lambda case: run(*case, planted) != case[0].recounted,
            settings=settings(max_examples=3000, database=None, phases=[Phase.generate]),
        )
    except NoSuchExample:
        pytest.fail("the fault was not seen")


def test_rows_are_forgotten_when_nothing_can_change_them_any_more() -> None:
    join = Join(POLICY, NOWHERE)
    join.on_predictions([(0, prediction("joined")), (1, prediction("unlabelled"))])
    join.on_labels([Label("joined", True, BEGIN + 1, 0), Label("orphan", True, BEGIN + 2, 1)])
    join.on_watermark(BEGIN + REACH)
    assert (join.rows, join.early) == (2, 1)
    assert join.rebuild_from(Positions(2, 2)) == Positions(0, 0)
    join.on_watermark(BEGIN + 3 * REACH)
    assert (join.rows, join.early) == (0, 0)
    assert join.rebuild_from(Positions(2, 2)) == Positions(2, 2)
    assert join.kinds["orphan"] == 1


def test_each_kind_is_counted() -> None:
    join = Join(POLICY, NOWHERE)
    join.on_labels([Label("early", True, BEGIN, 0)])
    join.on_predictions(
        [(0, prediction("early")), (1, prediction("early")), (2, prediction("late", scored_at=BEGIN + REACH + 1))]
    )
    join.on_labels(
        [Label("early", True, BEGIN, 1), Label("early", False, BEGIN, 2), Label("early", False, BEGIN + REACH, 3)]
    )
    assert join.kinds == {"joined": 1, "duplicate": 2, "revised": 1, "expired": 2}


def test_stable_without_a_rollout_gives_delays_of_bad_outcomes_only() -> None:
    join = Join(POLICY, NOWHERE)
    lanes = {"right": "stable", "wrong": "stable", "canary": "canary"}
    join.on_predictions(
        (offset, prediction(name, lane=lane, rollout=0)) for offset, (name, lane) in enumerate(lanes.items())
    )
    join.on_labels(Label(name, name == "right", BEGIN + 7, offset) for offset, name in enumerate(lanes))
    output = join.take()
    assert output.bad_delays == [BadDelays(BEGIN, {bucket_of(7): 1})]
    assert not output.outcomes


def test_a_delay_is_never_negative_and_the_entity_is_the_key() -> None:
    join = Join(POLICY, NOWHERE)
    join.on_predictions(
        [(0, prediction("a", key=b"entity")), (1, prediction("b", key=b"entity")), (2, prediction("c"))]
    )
    join.on_labels([Label(name, True, BEGIN - 3, offset) for offset, name in enumerate("abc")])
    one, other, keyless = join.take().outcomes
    assert one.delay == 0
    assert one.entity == other.entity == order_of("entity")
    assert one.order != other.order
    assert keyless.entity == keyless.order == order_of("c")


def test_assigned_by_request_each_request_is_its_own_entity() -> None:
    join = Join(replace(POLICY, assign_by="request"), NOWHERE)
    join.on_predictions([(0, prediction("a", key=b"entity")), (1, prediction("b", key=b"entity"))])
    join.on_labels([Label(name, True, BEGIN + 3, offset) for offset, name in enumerate("ab")])
    assert [outcome.entity for outcome in join.take().outcomes] == [order_of("a"), order_of("b")]


def test_a_flush_is_cut_into_records_of_bounded_size() -> None:
    join = Join(POLICY, NOWHERE)
    join.on_predictions((number, prediction(f"r{number}")) for number in range(45_000))
    join.on_labels(Label(f"r{number}", True, BEGIN, number) for number in range(45_000))
    records = join.take().records(by="w", written_at=1, partition=3, positions=Positions(5, 6), watermark=7)
    assert [sum(map(len, record.outcomes)) for record in records] == [20_000, 20_000, 5_000]
    assert [record.positions for record in records] == [None, None, Positions(5, 6)]
    assert [record.watermark for record in records] == [None, None, 7]
    assert sum(count.labelled for record in records for count in record.counts) == 45_000


def test_a_flush_without_news_is_one_record_with_its_positions() -> None:
    assert JoinOutput().records(by="w", written_at=1, partition=0, positions=Positions(5, 6), watermark=None) == [
        Evidence(by="w", written_at=1, partition=0, positions=Positions(5, 6))
    ]
