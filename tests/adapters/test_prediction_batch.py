"""A batch of predictions is written as they are one by one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_router.adapters.avro.prediction_batch import PredictionBatch
from stream_router.adapters.avro.records import decode_prediction, encode_prediction
from stream_router.adapters.avro.requests import RequestDecoder
from stream_router.core.routing.header import Routing
from stream_router.core.scoring.model_output import ModelOutput
from stream_router.core.scoring.prediction import Prediction
from stream_router.errors import DecodeError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
LONG = st.integers(-(2**63), 2**63 - 1)
COUNT = st.integers(0, 10**18 - 1)
INT = st.integers(0, 2**31 - 1)
ROUTING = st.builds(Routing, epoch=COUNT, digest=st.just("1f3a9c0b77d2"), rollout=COUNT, routed_at=COUNT)
BATCH = st.fixed_dictionaries(
    {
        "lane": st.sampled_from(["stable", "canary"]),
        "scored_at": COUNT,
        "model_version": TEXT,
        "model_digest": st.none() | TEXT,
        "batch_id": TEXT,
        "batch_size": INT,
        "model_seconds": st.floats(),
    }
)
OUTPUT = st.builds(
    ModelOutput, st.booleans() | LONG | st.floats() | TEXT | st.sampled_from([0, 1, 0.0, -0.0, 1.0]), st.none()
) | st.builds(ModelOutput, st.none(), st.none() | TEXT)
REQUEST = st.tuples(TEXT, st.none() | st.binary(max_size=300), ROUTING, COUNT, INT, OUTPUT)


@given(BATCH, st.lists(REQUEST, min_size=1, max_size=4))
def test_each_prediction_of_a_batch_is_written_as_alone(shared, requests):
    batch = PredictionBatch(**shared)
    for request_id, key, routing, requested_at, index, output in requests:
        alone = Prediction(
            request_id=request_id,
            key=key,
            rollout=routing.rollout,
            epoch=routing.epoch,
            digest=routing.digest,
            routed_at=routing.routed_at,
            requested_at=requested_at,
            batch_index=index,
            value=output.value,
            error=output.error,
            **shared,
        )
        written = batch.encode(request_id, key, routing, requested_at, index, output)
        assert written == encode_prediction(alone)
        assert repr(decode_prediction(written)) == repr(alone)  # nan is equal to nothing


ROW = st.dictionaries(st.text(max_size=5), st.none() | st.floats(allow_nan=False) | st.text(max_size=5), max_size=4)


@given(
    ROW, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"]), st.booleans(), st.text(" \n\t")
)
def test_a_request_is_read_as_json_reads_it(row, encoding, ascii_only, blanks):
    value = (json.dumps(row, ensure_ascii=ascii_only) + blanks).encode(encoding, errors="surrogatepass")
    assert RequestDecoder(None).row(value) == row


@pytest.mark.parametrize(
    "value", [b"{", b"{}{}", b'{"a": 1} x', b"[1]", b"1", b"", b"{\xff}", b'{"a": 1', b"\xff\xfe{"]
)
def test_a_request_that_is_no_json_object_is_refused(value):
    with pytest.raises(DecodeError, match="the request is"):
        RequestDecoder(None).row(value)
