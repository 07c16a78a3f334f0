"""Whatever a model returns or raises becomes an output that can be written."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_router.adapters.avro.records import decode_prediction, encode_prediction
from stream_router.core.scoring.model_output import ModelOutput, outputs_of, raised
from stream_router.core.scoring.prediction import Prediction

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


def write(output: ModelOutput) -> Prediction:
    prediction = Prediction(
        request_id="r", key=None, lane="stable", rollout=0, epoch=0, digest="", routed_at=1, requested_at=1,
        scored_at=1,
        model_version="1", model_digest=None, batch_id="", batch_index=0, batch_size=1, model_seconds=0.0,
        value=output.value, error=output.error,
    )  # fmt: skip
    return decode_prediction(encode_prediction(prediction))


@given(ANYTHING, st.integers(1, 3))
def test_every_row_gets_exactly_one_output_that_can_be_written(returned, count):
    outputs = outputs_of(returned, count)
    assert len(outputs) == count
    for output in outputs:
        assert (output.value is None) != (output.error is None)
        write(output)


@given(st.text(st.characters()))
def test_whatever_is_raised_can_be_written(text):
    assert write(raised(ValueError(text))).error.startswith("ValueError: ")


@pytest.mark.parametrize("returned", [np.array([True, False]), [np.bool_(True), np.bool_(False)], (True, False)])
def test_arrays_lists_and_numpy_scalars_are_plain_values(returned):
    assert outputs_of(returned, 2) == [ModelOutput(True, None), ModelOutput(False, None)]


def test_a_lone_surrogate_and_a_number_over_64_bits_are_errors():
    surrogate, big = outputs_of(["\ud800", 2**63], 2)
    assert "surrogate" in surrogate.error
    assert "64 bits" in big.error


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -np.inf, np.float32("nan")])
def test_what_is_no_number_is_an_error(value):
    (output,) = outputs_of([value], 1)
    assert output == ModelOutput(None, f"the prediction is {float(value)}, not a number")


@pytest.mark.parametrize("text", ["x" * 65_537, "é" * 40_000, "\ud800" * 20_000])
def test_a_text_that_its_topic_could_not_hold_is_an_error(text):
    (output,) = outputs_of([text], 1)
    assert output == ModelOutput(None, "the prediction is text of more than 65536 bytes")
