"""Which ids a request may have; none ends the job, whatever it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_router.adapters.avro.requests import LONGEST_ID, RequestDecoder
from stream_router.errors import DecodeError

DECODER = RequestDecoder(None)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(ANYTHING)
def test_an_id_is_a_short_text_or_a_whole_number_or_refused_in_a_short_message(value):
    found, refused = None, None
    try:
        found = DECODER.request_id((), {"request_id": value})
    except DecodeError as error:
        refused = str(error)
    assert (found is None) != (refused is None)
    assert refused is None or len(refused) < 300
    assert found is None or (found == str(value) and len(found.encode()) <= LONGEST_ID)


@pytest.mark.parametrize(
    "value", ["x" * 1_500_000, ["x" * 1_000_000], {"a": "x" * 1_000_000}, 10**4_000, 10**1_500], ids=lambda _: ""
)
def test_an_id_that_is_long_is_refused_in_a_short_message(value):
    with pytest.raises(DecodeError) as refused:
        DECODER.request_id((), {"request_id": value})
    assert len(str(refused.value)) < 300


def test_the_limit_counts_bytes_in_the_header_as_in_the_field():
    assert DECODER.request_id([("ce_id", b"x" * 1_024)], None) == "x" * 1_024
    for headers, row in (([("ce_id", b"x" * 1_025)], None), ((), {"request_id": "é" * 513})):
        with pytest.raises(DecodeError, match="at most 1024"):
            DECODER.request_id(headers, row)


def test_an_id_of_more_digits_than_python_prints_is_refused():
    row = {"request_id": int("9" * 4_300) * 10**10}
    with pytest.raises(DecodeError, match="bits"):
        DECODER.request_id((), row)
