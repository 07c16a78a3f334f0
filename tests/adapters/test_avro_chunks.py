"""A chunk in columns is what its records are one by one, whatever they hold."""

import re
from dataclasses import fields
from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_router.adapters.avro import chunks as avro_chunks
from stream_router.adapters.avro.chunks import decode_labels, decode_predictions
from stream_router.adapters.avro.codec import Codec
from stream_router.adapters.avro.labels import decode_label, encode_label
from stream_router.adapters.avro.records import decode_prediction, encode_prediction
from stream_router.core.joining.columns import Labels, Origin, Predictions
from stream_router.core.scoring.prediction import Prediction
from stream_router.errors import DecodeError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(["", "a\0", "é", "\0"])
LONG = st.integers(-(2**63), 2**63 - 1) | st.integers(-100, 2**42)
INT = st.integers(-(2**31), 2**31 - 1)
VALUE = st.booleans() | LONG | st.floats() | TEXT
PREDICTION = st.builds(
    Prediction,
    request_id=TEXT,
    key=st.none() | st.binary(max_size=20),
    lane=st.sampled_from(["stable", "canary"]) | TEXT,
    rollout=LONG,
    epoch=LONG,
    digest=TEXT,
    routed_at=LONG,
    requested_at=LONG,
    scored_at=LONG,
    model_version=TEXT,
    model_digest=st.none() | TEXT,
    batch_id=TEXT,
    batch_index=INT,
    batch_size=INT,
    model_seconds=st.floats(),
    value=st.none() | VALUE,
    error=st.none() | TEXT,
)
ENCODED = {
    "prediction": PREDICTION.map(encode_prediction),
    "ground_truth": st.builds(encode_label, TEXT, VALUE),
}


INSERTED = st.sampled_from([b"\x80", b"\xff" * 12, b"\0", b"\x02"])
FEW = st.sampled_from([0, 0, 0, 5])


class Fetched(NamedTuple):
    offset: int
    timestamp: int
    value: bytes | None


@st.composite
def bent(draw, good):
    """A record that some mishap has befallen."""
    value = draw(good)
    place = draw(st.integers(0, len(value)))
    mishaps = {
        "cut": st.just(value[:place]),
        "longer": st.binary(min_size=1, max_size=12).map(lambda more: value + more),
        "other byte": st.binary(min_size=1, max_size=1).map(lambda byte: value[:place] + byte + value[place + 1 :]),
        "inserted": INSERTED.map(lambda more: value[:place] + more + value[place:]),
        "foreign": st.sampled_from([b"{}", b"\xc3\x01" + bytes(8) + value[10:]]) | st.binary(max_size=60),
        "nothing": st.sampled_from([None, b""]),
    }
    return draw(mishaps[draw(st.sampled_from(sorted(mishaps)))])


def chunks(subject):
    good = ENCODED[subject]
    return st.lists(good | bent(good), max_size=8).map(
        lambda found: [Fetched(3 * number, 1_000 + number, value) for number, value in enumerate(found)]
    )


def rows(columns):
    """Comparable as text: nan is equal to nothing, True to 1 and -0.0 to 0.0."""
    found = [
        value.tolist() if isinstance(value, np.ndarray) else value
        for value in (getattr(columns, field.name) for field in fields(columns))
    ]
    assert all(len(column) == len(columns) for column in found)
    return [repr(row) for row in zip(*found, strict=True)]


def one_by_one(decode, records):
    good, bad = [], []
    for record in records:
        try:
            good.append(repr(decode(record)))
        except DecodeError as error:
            bad.append((record, error))
    return good, told(bad)


def told(refused):
    """Without the addresses of objects, which some reasons hold."""
    return [(record, re.sub(" at 0x[0-9a-f]+", "", str(error))) for record, error in refused]


def prediction_row(record):
    found = decode_prediction(record.value)
    return (
        record.offset,
        record.timestamp,
        found.request_id,
        found.key,
        Origin(found.epoch, found.digest, found.rollout, found.lane, found.model_version),
        found.routed_at,
        found.requested_at,
        found.scored_at,
        found.batch_index,
        found.batch_size,
        found.model_seconds,
        None if found.error is not None else found.value,
        found.error is not None,
    )


def label_row(record):
    found = decode_label(record.value, record.timestamp, record.offset)
    return found.offset, found.time, found.request_id, found.value


@given(chunks("prediction"), FEW)
def test_predictions_of_a_chunk_are_read_as_one_by_one(records, few):
    with mock.patch.object(avro_chunks, "_FEW", few):
        columns, refused = decode_predictions(records)
    assert isinstance(columns, Predictions)
    assert (rows(columns), told(refused)) == one_by_one(prediction_row, records)


@given(chunks("ground_truth"), FEW)
def test_labels_of_a_chunk_are_read_as_one_by_one(records, few):
    with mock.patch.object(avro_chunks, "_FEW", few):
        columns, refused = decode_labels(records)
    assert isinstance(columns, Labels)
    assert (rows(columns), told(refused)) == one_by_one(label_row, records)


@pytest.mark.parametrize("cut", range(1, 60))
def test_what_one_record_lacks_is_not_taken_from_its_neighbour(cut):
    whole = encode_label("request", "a text that is long enough to lose some of it")
    short, long = whole[:-cut], whole + whole[-cut:]
    columns, refused = decode_labels([Fetched(n, n, v) for n, v in enumerate([short, long, whole] * 10)])
    assert columns.offset.tolist() == list(range(2, 30, 3))
    assert [record.offset for record, _ in refused] == [n for n in range(30) if n % 3 < 2]


def prediction(lane, value):
    return encode_prediction(
        Prediction(
            request_id="é",
            key=None,
            lane=lane,
            rollout=3,
            epoch=9,
            digest="1f3a9c0b77d2",
            routed_at=1_795_420_000_123,
            requested_at=1_795_420_000_100,
            scored_at=1_795_420_000_200,
            model_version="7",
            model_digest=None,
            batch_id="",
            batch_index=3,
            batch_size=256,
            model_seconds=1e-5,
            value=value,
            error=None,
        )
    )


@pytest.mark.parametrize("value", [True, 3, -1.5, "text"])
def test_records_as_they_are_need_no_second_reading(value, monkeypatch):
    monkeypatch.setattr(Codec, "decode", lambda *_: pytest.fail("read one by one"))
    predictions, _ = decode_predictions([Fetched(n, n, prediction("stable", value)) for n in range(100)])
    labels, _ = decode_labels([Fetched(n, n, encode_label("é", value)) for n in range(100)])
    assert predictions.value == labels.value == [value] * 100


def test_an_origin_is_one_object_for_all_rows_that_have_it():
    values = prediction("stable", 1), prediction("canary", 1)
    columns, _ = decode_predictions([Fetched(n, n, values[n % 2]) for n in range(100)])
    assert len({id(origin) for origin in columns.origin}) == 2
