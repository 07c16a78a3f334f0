"""What agrees with what: exact, near, or as the user's own function says."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from math import inf, isfinite, nan

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.join_worlds import (
    BEGIN,
    EVENTFUL,
    NOWHERE,
    POLICY,
    REACH,
    Actions,
    World,
    history,
    labels,
    prediction,
    predictions,
    run,
    worlds,
)

from stream_router.core.evidence import ACCURACY
from stream_router.core.joining.agreement import Near, agreement
from stream_router.core.joining.join import Join
from stream_router.core.joining.label import Label
from stream_router.core.joining.values import coded, in_python
from stream_router.core.joining.vocabulary import Vocabulary
from stream_router.core.scoring.prediction import Value

NUMBERS = st.one_of(st.integers(-5, 5), st.floats(-5, 5), st.sampled_from([nan, inf, -inf, 2**62]))
VALUES = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=2))


@settings(deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES)), st.floats(0, 3), st.floats(0, 1))
@example([(True, 2), (1, 2), (1, True), (inf, inf), (3, inf), (inf, 3), ("1", 1), (None, 1)], 1.0, 1.0)
def test_numbers_agree_within_the_larger_tolerance_and_all_else_where_it_is_equal(pairs, tolerance, relative) -> None:
    def is_near(value, truth) -> bool:
        if value is None or truth is None or value == truth:
            return value is not None and value == truth
        if any(isinstance(each, bool | str) or not isfinite(each) for each in (value, truth)):
            return False
        return abs(value - truth) <= max(tolerance, relative * abs(truth))

    values, truths = coded([value for value, _ in pairs]), coded([truth for _, truth in pairs])
    assert Near(tolerance, relative).right(values, truths).tolist() == [is_near(*pair) for pair in pairs]


@given(st.lists(st.one_of(VALUES.filter(lambda value: value is not None), st.integers(-(2**80), 2**80))))
def test_what_was_coded_is_told_as_it_was(values: list[Value]) -> None:
    vocabulary = Vocabulary()
    vocabulary.learn(coded(values), values)
    told = vocabulary.told(coded(values))
    assert list(map(repr, map(_as_told, values))) == list(map(repr, told))


def _as_told(value: Value) -> Value:
    """Zero has no sign, and an integer beyond 64 bits that is a double is one."""
    if isinstance(value, bool | str):
        return value
    if value == 0:
        return type(value)(0)
    if isinstance(value, int) and not -(2**63) <= value < 2**63 and int(float(value)) == value:
        return float(value)
    return value


def test_text_and_a_number_of_the_same_digits_are_told_apart() -> None:
    values = [hex(2**70 + 1), 2**70 + 1]
    vocabulary = Vocabulary()
    vocabulary.learn(coded(values), values)
    assert vocabulary.told(coded(values)) == values


TEXTS = st.lists(st.text(max_size=3), max_size=20)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=4))
def test_what_is_kept_is_told_all_else_is_not_and_a_copy_knows_the_same(
    turns: list[tuple[list[str], list[str]]],
) -> None:
    vocabulary, known = Vocabulary(), set[str]()
    for learned, wanted in turns:
        vocabulary.learn(coded(learned), learned)
        known = (known | set(learned)) & set(wanted)
        vocabulary.keep(coded(sorted(known)), coded([None, 1.5, *known]))
        copy = Vocabulary()
        copy.restore(vocabulary.state())
        for one in (vocabulary, copy):
            assert len(one) == len(known)
            assert one.told(coded(sorted(known))) == sorted(known)
        for text in {*learned, *wanted} - known:
            with pytest.raises(KeyError):
                vocabulary.told(coded([text]))


def test_a_row_with_its_own_short_text_takes_at_most_250_bytes() -> None:
    """As an object in a dictionary the text alone would take 200. By numpy's and Python's own account."""
    number, join = 50_000, Join(POLICY, NOWHERE, history(), bad=differ)
    tracemalloc.start()
    for first in range(0, number, 1_000):
        those = [prediction(f"{n:036}", value=f"class {n}: short text") for n in range(first, first + 1_000)]
        join.on_predictions(predictions(*those, first=first))
        join.take()
        del those
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used / number <= 250


def test_nothing_can_be_told_of_what_was_not_learned() -> None:
    with pytest.raises(KeyError):
        in_python(coded(["text"]), {})
    with pytest.raises(KeyError):
        in_python(coded([None]), {})


def differ(value: Value, truth: Value) -> bool:
    """Depends on the types of both."""
    return (type(value).__name__, str(value)) >= (type(truth).__name__, str(truth))


@settings(max_examples=300, deadline=None)
@given(worlds(), EVENTFUL, st.sampled_from([None, differ]))
def test_evidence_equals_a_recount_by_other_agreements_whoever_dies_when(
    world: World, actions: Actions, bad: Callable[[Value, Value], bool] | None
) -> None:
    policy = replace(POLICY, bad="m:bad") if bad else replace(POLICY, tolerance=0.6, relative_tolerance=0.5)
    world = replace(world, policy=policy, bad=bad)
    assert run(world, actions) == world.recounted


def test_of_an_error_nobody_is_asked_and_it_gives_no_outcome() -> None:
    def bad(*_: Value) -> bool:
        raise AssertionError

    join = Join(POLICY, NOWHERE, history(), bad=bad)
    join.on_predictions(predictions(prediction("a", value=None, error="failed")))
    join.on_labels(labels(Label("a", True, BEGIN, 0)))
    assert [column for column in join.take().outcomes if column.key.metric == ACCURACY] == []


def test_a_pair_is_asked_about_once_and_not_by_a_successor() -> None:
    asked = []

    def bad(value: Value, truth: Value) -> bool:
        asked.append((value, truth))
        return False

    join = Join(POLICY, NOWHERE, history(), bad=bad)
    join.on_predictions(predictions(prediction("a", value="yes")))
    join.on_labels(labels(*(Label("a", "yes", BEGIN + n, n) for n in range(3))))
    assert asked == [("yes", "yes")]
    successor = Join.restored(POLICY, NOWHERE._replace(predictions=1, ground_truth=3), history(), join.state(), bad=bad)
    successor.on_labels(labels(*(Label("a", "yes", BEGIN + n, n) for n in range(3)), Label("a", "no", BEGIN + 9, 3)))
    assert asked[1:] == [("yes", "no"), ("yes", "yes")], "a revision, and what it replaces"


def test_texts_are_forgotten_with_the_rows_and_labels_that_held_them() -> None:
    join = Join(POLICY, NOWHERE, history(), bad=differ)
    sizes = []
    for turn in range(10):
        at, numbers = BEGIN + turn * 5 * REACH, range(1_000)
        those = [prediction(f"{turn}-{n}", routed_at=at, scored_at=at, value=f"{turn}-{n}") for n in numbers]
        join.on_predictions(predictions(*those, first=1_000 * turn))
        told = [Label(f"{turn}-{n + 500}", f"label {turn}-{n}", at, 1_000 * turn + n) for n in numbers]
        join.on_labels(labels(*told))
        join.take()
        join.on_watermark(at)
        sizes.append(join.state()["text.bytes"].nbytes)
    assert max(sizes) <= 3.1 * sizes[0], "at most twice what is held, beside what a chunk brings"


def test_a_policy_whose_function_was_not_loaded_is_refused_not_compared_exactly() -> None:
    with pytest.raises(ValueError, match="m:bad"):
        Join(replace(POLICY, bad="m:bad"), NOWHERE, history())
    with pytest.raises(ValueError, match="m:bad"):
        agreement(replace(POLICY, bad="m:bad"), None, None)


def test_rows_without_their_texts_are_refused() -> None:
    join = Join(POLICY, NOWHERE, history())
    with pytest.raises(ValueError, match="texts"):
        Join.restored(POLICY, NOWHERE, history(), join.state(), bad=differ)
