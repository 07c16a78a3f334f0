"""A batch with poor rows costs few calls, and only those rows; one that fails as a whole is given up soon."""

from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_router.core.scoring.asking import GIVE_UP_AFTER, ask
from stream_router.core.scoring.model_output import ModelOutput


class Model:
    """Says back each row's x; raises where a batch holds a poor one."""

    def __init__(self, poor=(), message="poor {}"):
        self.poor, self.message, self.calls = set(poor), message, 0

    def __call__(self, rows):
        self.calls += 1
        for row in rows:
            if row["x"] in self.poor:
                raise ValueError(self.message.format(row["x"]))
        return [row["x"] for row in rows]


def rows_of(count):
    return [{"x": number} for number in range(count)]


@given(st.integers(0, 300), st.sets(st.integers(0, 299), max_size=4))
def test_few_poor_rows_spoil_only_their_own_predictions_and_cost_few_calls(count, poor):
    model = Model(poor)
    outputs = ask(model, rows_of(count))
    expected = [ModelOutput(None, f"ValueError: poor {x}") if x in poor else ModelOutput(x, None) for x in range(count)]
    assert outputs == expected
    found = len(poor & set(range(count)))
    assert model.calls <= 1 + found * 2 * ceil(log2(max(count, 2)))


@given(st.integers(1, 1_000), st.sampled_from(["down", "down, request {}"]))
def test_where_every_row_fails_alike_the_batch_is_given_up_after_few_calls(count, message):
    """Alike is what is raised at one place, whatever its message quotes."""
    model = Model(range(count), message)
    outputs = ask(model, rows_of(count))
    assert len(outputs) == count
    assert all(output.error.startswith("ValueError: down") for output in outputs)
    assert model.calls <= 2 * GIVE_UP_AFTER + ceil(log2(count)) + 2


@given(st.integers(8, 200), st.integers(0, 100))
def test_poor_rows_that_come_together_do_not_spoil_the_rest(count, start):
    poor = set(range(start, start + 7)) - {count - 1}
    outputs = ask(Model(poor), rows_of(count))
    assert [output.value for output in outputs] == [None if x in poor else x for x in range(count)]


def test_rows_that_fail_in_different_ways_are_all_asked():
    def model(rows):
        kind = (ValueError, KeyError)[rows[0]["x"] % 2]
        raise kind(rows[0]["x"])

    assert [output.error for output in ask(model, rows_of(20))] == [
        f"{('ValueError', 'KeyError')[x % 2]}: {x}" for x in range(20)
    ]


@pytest.mark.parametrize("extra", [-1, 1])
def test_another_number_of_answers_than_rows_is_an_error_of_each(extra):
    outputs = ask(lambda rows: [1] * (len(rows) + extra), rows_of(3))
    assert {output.error for output in outputs} == {f"the model returned {3 + extra} predictions for 3 rows"}
