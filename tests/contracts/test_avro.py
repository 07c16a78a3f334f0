"""Avro single-object encoding: old bytes stay readable, foreign bytes are refused and never crash the reader."""

import copy
import json
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_router.adapters.avro.codec import MARKER, Codec, Subject, fingerprint_of
from stream_router.adapters.resources import resource_folder
from stream_router.errors import DecodeError, SettingError

SUBJECTS = get_args(Subject)
TRUTH = {"request_id": "flight-1", "value": True}


def versions_of(subject):
    """Its schemas, oldest first."""
    files = (resource_folder("schemas") / subject).glob("*.avsc")
    return [json.loads(file.read_text()) for file in sorted(files, key=lambda file: int(file.stem))]


def schema_of(subject):
    return versions_of(subject)[-1]


def records_in(schema):
    """The record types of a schema, nested ones too."""
    if isinstance(schema, list):
        for branch in schema:
            yield from records_in(branch)
    elif isinstance(schema, dict):
        if schema["type"] == "record":
            yield schema
            for field in schema["fields"]:
                yield from records_in(field["type"])
        for inner in ("items", "values"):
            if inner in schema:
                yield from records_in(schema[inner])
        if isinstance(schema["type"], (dict, list)):
            yield from records_in(schema["type"])


@pytest.fixture(scope="module")
def truth():
    return Codec.of("ground_truth")


@pytest.fixture(scope="module")
def written(truth):
    return truth.encode(TRUTH)


def test_each_subject_has_a_folder_and_each_folder_is_a_subject():
    assert {folder.name for folder in resource_folder("schemas").iterdir()} == set(SUBJECTS)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_field_says_what_it_is(subject):
    for record in records_in(schema_of(subject)):
        assert record.get("doc"), record["name"]
        for field in record["fields"]:
            assert field.get("doc", "").strip(), f"{record['name']}.{field['name']}"


@pytest.mark.parametrize("subject", SUBJECTS)
def test_no_schema_can_be_used_to_exhaust_the_reader(subject):
    """Items without size turn 5 bytes into millions of items, recursion exhausts the stack."""
    names = [record["name"] for record in records_in(schema_of(subject))]
    assert len(names) == len(set(names))
    text = json.dumps(schema_of(subject))
    assert '"items": "null"' not in text
    assert all(record["fields"] for record in records_in(schema_of(subject)))


@pytest.mark.parametrize("subject", SUBJECTS)
def test_bytes_of_each_version_of_ours_are_read(subject):
    for schema in versions_of(subject):
        data = Codec([schema], subject).encode(example_of(schema))
        assert isinstance(CODECS[subject].decode(data), dict)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_old_bytes_are_read_after_a_field_was_added(subject):
    old = schema_of(subject)
    new = copy.deepcopy(old)
    new["fields"].append({"name": "added", "type": ["null", "string"], "default": None, "doc": "Came later."})
    record = EXAMPLES[subject]
    data = Codec([old], subject).encode(record)
    assert Codec([old, new], subject).decode(data) == Codec([old], subject).decode(data) | {"added": None}


def test_the_newest_version_is_written(written):
    new = schema_of("ground_truth")
    new["fields"].append({"name": "added", "type": "string", "default": "", "doc": "Came later."})
    both = Codec([schema_of("ground_truth"), new], "ground_truth")
    assert both.encode(TRUTH)[2:10] == fingerprint_of(new) != written[2:10]


def test_a_reader_of_version_1_refuses_version_2_by_its_fingerprint(truth):
    new = schema_of("ground_truth")
    new["fields"].append({"name": "added", "type": "string", "default": "", "doc": "Came later."})
    with pytest.raises(DecodeError, match="unknown schema fingerprint"):
        truth.decode(Codec([new], "ground_truth").encode(TRUTH))


def test_bytes_left_over_are_refused(truth, written):
    with pytest.raises(DecodeError, match="1 bytes are left over"):
        truth.decode(written + b"\0")


@pytest.mark.parametrize("length", range(18))
def test_truncated_bytes_are_refused(truth, written, length):
    assert length < len(written)
    with pytest.raises(DecodeError):
        truth.decode(written[:length])


def test_no_value_is_refused(truth):
    with pytest.raises(DecodeError, match="no value"):
        truth.decode(None)


@pytest.mark.parametrize("data", [b'{"request_id": "1"}', b"\x00\x00\x00\x00\x01abcdefgh", b""])
def test_other_encodings_are_refused_with_the_expected_one(truth, data):
    with pytest.raises(DecodeError, match="Avro single-object encoding"):
        truth.decode(data)


@given(subject=st.sampled_from(SUBJECTS), body=st.binary(max_size=400))
@example(subject="evidence", body=b"\xff" * 400)
@example(subject="evidence", body=b"\x80" * 400)
def test_hostile_bytes_are_decoded_or_refused(subject, body):
    codec = CODECS[subject]
    try:
        record = codec.decode(MARKER + fingerprint_of(schema_of(subject)) + body)
    except DecodeError:
        return
    assert isinstance(record, dict)


@given(st.binary(max_size=64))
def test_bytes_without_the_head_are_refused(data):
    if data[:2] != MARKER:
        with pytest.raises(DecodeError):
            CODECS["ground_truth"].decode(data)


@given(cut=st.integers(0), flip=st.integers(1, 255))
def test_damaged_records_are_decoded_or_refused(written, cut, flip):
    damaged = bytearray(written)
    damaged[cut % len(written)] ^= flip
    try:
        CODECS["ground_truth"].decode(bytes(damaged))
    except DecodeError:
        return


def test_a_users_schema_that_is_none_is_refused(tmp_path):
    file = tmp_path / "mine.avsc"
    for text in ("{", '{"type": "wrong"}'):
        file.write_text(text)
        with pytest.raises(SettingError, match=r"mine\.avsc"):
            Codec.from_file(file)
    with pytest.raises(SettingError, match=r"none\.avsc"):
        Codec.from_file(tmp_path / "none.avsc")


def example_of(schema, named=None):  # noqa: PLR0911 - one for each kind of schema
    """A value of the schema, small; of a union the last branch's."""
    named = {} if named is None else named
    match schema:
        case list():
            return example_of(schema[-1], named)
        case {"type": "record", "name": name, "fields": fields}:
            named[name] = schema
            return {field["name"]: example_of(field["type"], named) for field in fields}
        case {"type": "array", "items": items}:
            return [example_of(items, named)]
        case {"type": "map", "values": values}:
            return {"name": example_of(values, named)}
        case {"type": "enum", "symbols": symbols}:
            return symbols[0]
        case {"type": inner}:
            return example_of(inner, named)
    if schema in named:
        return example_of(named[schema], named)
    return {"null": None, "boolean": True, "bytes": b"x", "string": "x", "float": 0.5, "double": 0.5}.get(schema, 1)


EXAMPLES = {subject: example_of(schema_of(subject)) for subject in SUBJECTS}
CODECS = {subject: Codec.of(subject) for subject in SUBJECTS}


@pytest.mark.parametrize("subject", SUBJECTS)
def test_what_was_encoded_is_decoded(subject):
    assert CODECS[subject].decode(CODECS[subject].encode(EXAMPLES[subject])) == EXAMPLES[subject]
