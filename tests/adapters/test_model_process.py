"""A model in a process of its own answers as in ours, and its harm stays there."""

from decimal import Decimal
from enum import StrEnum

import pytest
from support.waiting import wait_until

from stream_router.adapters.model_process import Artifact, ModelProcess
from stream_router.core.scoring.model_output import outputs_of
from stream_router.errors import ModelError


@pytest.fixture
def start(monkeypatch):
    monkeypatch.syspath_prepend("tests")
    started = []

    def started_with(version, template="support.unruly_models:load"):
        process = ModelProcess(Artifact(template), version)
        started.append(process)
        return process

    yield started_with
    for process in started:
        process.kill()


def loaded(process):
    wait_until(lambda: process.loaded(0.1), 60, "the model")
    return process


def answer(process, rows):
    process.ask(rows)
    return wait_until(lambda: process.answer(0.1), 60, "the answer")


def test_answers_come_in_the_order_of_the_rows_with_digest_and_seconds(start):
    process = loaded(start("1"))
    assert process.digest == "digest of 1"
    answered = answer(process, [{"x": 1.5}, {"x": "text"}, {"x": None}, {"x": Decimal("0.5")}])
    assert [output.value for output in answered.outputs] == [1.5, "text", None, None]
    assert [bool(output.error) for output in answered.outputs] == [False, False, True, True]
    assert answered.seconds > 0


@pytest.mark.parametrize("version", ["hangs", "hangs-in-c"])
def test_a_model_that_hangs_has_no_answer_and_can_be_killed(start, version):
    process = loaded(start(version))
    process.ask([{"x": 13}])
    assert process.answer(0.3) is None
    process.kill()
    assert process.is_broken


@pytest.mark.parametrize(("version", "said"), [("crashes", "SIGSEGV"), ("exits", "exit code 3")])
def test_a_model_that_dies_makes_errors_of_its_batch(start, version, said):
    process = loaded(start(version))
    answered = answer(process, [{"x": 1}, {"x": 13}])
    assert len(answered.outputs) == 2
    assert all(said in output.error for output in answered.outputs)


@pytest.mark.parametrize(
    ("version", "said"), [("does-not-load", "no such weights"), ("crashes-while-loading", "SIGSEGV")]
)
def test_a_model_that_does_not_load_says_why(start, version, said):
    with pytest.raises(ModelError, match=said):
        loaded(start(version))


def test_what_a_model_prints_is_no_output_of_the_command(start, capfd):
    answer(loaded(start("prints")), [{"x": 13}])
    written = capfd.readouterr()
    assert written.out == ""
    assert "a model's own line" in written.err


def test_a_value_of_a_class_of_the_users_is_made_plain():
    class Colour(StrEnum):
        RED = "red"

    (output,) = outputs_of([Colour.RED], 1)
    assert type(output.value) is str
    assert output.value == "red"
