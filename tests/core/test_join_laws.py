"""Properties of the join: exact, whatever the order of the inputs, and whoever dies when."""

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from support.join_worlds import (
    BEGIN,
    EVENTFUL,
    HORIZON,
    NOWHERE,
    PEACEFUL,
    POLICY,
    Actions,
    Maker,
    Run,
    World,
    answered_worlds,
    prediction,
    run,
    steps,
    worlds,
)

from stream_router.core.evidence import LABELLING
from stream_router.core.joining.join import MAX_ROWS, Join
from stream_router.core.joining.label import Label
from stream_router.core.joining.split_history import SplitHistory


@settings(deadline=None)
@given(worlds(apart=False), PEACEFUL)
def test_the_result_does_not_depend_on_how_the_inputs_interleave(world: World, actions: Actions) -> None:
    assert run(world, actions) == world.recounted
    assert run(world, [("predictions", 100), ("ground_truth", 100)]) == world.recounted
    assert run(world, [("ground_truth", 100), ("predictions", 100)]) == world.recounted


@settings(max_examples=500, deadline=None)
@given(worlds(), EVENTFUL)
def test_evidence_equals_a_batch_recount_whoever_dies_when(world: World, actions: Actions) -> None:
    assert run(world, actions) == world.recounted


@settings(max_examples=200, deadline=None)
@given(answered_worlds(), EVENTFUL)
def test_each_window_that_matures_is_told_once_whoever_dies_when(world: World, actions: Actions) -> None:
    assert run(world, actions) == world.recounted


@settings(deadline=None)
@given(worlds(), EVENTFUL)
def test_no_request_has_two_outcomes_of_a_kind(world: World, actions: Actions) -> None:
    requests = [(outcome.metric, outcome.order, outcome.window) for outcome in run(world, actions).outcomes]
    assert len(requests) == len(set(requests))


@settings(deadline=None)
@given(worlds(), EVENTFUL)
def test_reading_again_from_any_earlier_point_changes_nothing(world: World, actions: Actions) -> None:
    going = Run(world)
    for action, count in actions:
        going.act(action, count)
        going.show("predictions", 0, going.at.predictions)
        going.show("ground_truth", 0, going.at.ground_truth)
    assert going.finish() == world.recounted


@settings(deadline=None)
@given(worlds(), EVENTFUL, st.booleans())
def test_a_revision_changes_windows_but_no_outcome_that_was_said(world: World, actions: Actions, value: bool) -> None:
    newest = {label.request_id: label for label in world.labels}
    revised = world.and_labels([label._replace(value=value) for label in newest.values()])
    assert run(revised, actions).without(LABELLING).outcomes == world.recounted.without(LABELLING).outcomes
    assert run(revised, actions).counts == revised.recounted.counts


@settings(deadline=None)
@given(worlds(), EVENTFUL)
def test_an_expired_label_never_counts(world: World, actions: Actions) -> None:
    last: dict[str, int] = {}
    for time, known in zip(world.times, world.predictions, strict=True):
        last[known.request_id] = max(known.routed_at or time, last.get(known.request_id, 0))
    expired = [Label(name, value, at + HORIZON + 12_000, 0) for name, at in last.items() for value in (True, False)]
    assert run(world.and_labels(expired), actions) == world.recounted


@settings(max_examples=20, deadline=None)
@given(
    steps("predictions", "ground_truth", "flush", "restore", "crash", reads=60),
    st.lists(st.integers(0, 79), max_size=40),
)
def test_of_an_id_with_too_many_rows_the_first_count_however_it_is_read(actions: Actions, labelled: list[int]) -> None:
    """Watermarks apart, which make room for later ones."""
    times = [BEGIN + turn * (POLICY.prediction_deadline + 1) for turn in range(80)]
    known = [(at, prediction("null", routed_at=at, scored_at=at)) for at in times]
    other = prediction("other", routed_at=times[70], scored_at=times[70])
    world = World.of([*known, (times[70], other)], [Label("null", True, times[turn], 0) for turn in labelled])
    assert run(world, actions) == world.recounted
    assert sum(count[0] for count in world.recounted.counts.values()) == MAX_ROWS + 1


def everything_new(policy, _, splits, **options) -> Join:
    """Planted: a successor says again what its predecessor said."""
    return Join(policy, NOWHERE, splits, **options)


class LabelsAloneAreNew(Join):
    """Planted: a prediction after the positions does not make its earlier label news."""

    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self._rows.is_new = lambda rows: np.zeros(len(rows), np.bool_)


class RebuildsNothing(Join):
    """Planted: a successor that reads from the positions on only."""

    def rebuild_from(self, positions):
        return positions


class ForgetsEarly(Join):
    """Planted: rows go when their window's labels may still come."""

    def on_watermark(self, clock):
        table = self._rows._table  # noqa: SLF001 - as all that is planted
        table.remove(table.where("routed_at", clock))
        super().on_watermark(clock)


class ForgetsWhatWasTold(Join):
    """Planted: a successor tells again of windows that had matured."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **(options | {"told_until": 0}))


class TellsAtOnce(Join):
    """Planted: a window is told while labels may still come."""

    def on_watermark(self, clock):
        super().on_watermark(clock)
        Join.on_watermark(self, clock + 2 * POLICY.label_horizon)


class ForgetsRevisions(Join):
    """Planted: of labels a predecessor has read it is not known whether they were revised."""

    def _on_labels(self, rows, labels):
        super()._on_labels(rows, labels)
        self._rows._table["flags"][rows[~labels.new]] &= 3  # noqa: SLF001 - likewise


class BelievesTheLast(Join):
    """Planted: what comes after the first label makes the outcome, whatever the first said."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        told = self._telling.on_first_labels
        self._telling.on_first_labels = lambda requests, time, answered, right: told(requests, time, answered, ~right)


class TakesTheNearest(Join):
    """Planted: an id is one request for ever."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._rows.is_near = lambda one, _: np.full(len(one), fill_value=True)


class ForgetsWhoWaits(Join):
    """Planted: a label that comes before its prediction is lost."""

    def _enter(self, keys, offsets, columns):
        early, self._early = self._early, Join(POLICY, NOWHERE, self._splits)._early  # noqa: SLF001
        super()._enter(keys, offsets, columns)
        self._early = early


class BetsOnTheLate(Join):
    """Planted: an answer after the deadline is an answer."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        requests = self._rows.requests
        self._rows.requests = lambda rows: requests(rows)._replace(late=np.zeros(len(rows), np.bool_))


def knows_no_splits(policy, base, _, **options) -> Join:
    """Planted: stable is never thinned, and no foreign prediction attributed."""
    return Join(policy, base, SplitHistory(), **options)


@pytest.mark.parametrize(
    "planted",
    [
        everything_new,
        knows_no_splits,
        BetsOnTheLate,
        ForgetsWhatWasTold,
        TellsAtOnce,
        ForgetsRevisions,
        LabelsAloneAreNew,
        RebuildsNothing,
        ForgetsEarly,
        BelievesTheLast,
        TakesTheNearest,
        ForgetsWhoWaits,
    ],
    ids=lambda planted: planted.__name__,
)
def test_the_recount_catches_a_planted_fault(planted: Maker) -> None:
    drawn = answered_worlds() if planted in (ForgetsWhatWasTold, TellsAtOnce, ForgetsRevisions) else worlds()
    try:
        find(
            st.tuples(drawn, EVENTFUL),
            lambda case: run(*case, planted) != case[0].recounted,
            settings=settings(max_examples=3000, database=None, deadline=None, phases=[Phase.generate]),
        )
    except NoSuchExample:
        pytest.fail("the fault was not seen")
