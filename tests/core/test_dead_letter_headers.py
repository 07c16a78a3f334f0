"""A dead letter's headers stay small and can be written, whatever the reason quotes."""

from hypothesis import given
from hypothesis import strategies as st

from stream_router.core.dead_letter import REASON_BYTES, REASON_HEADER, dead_letter_headers, reason_of
from stream_router.errors import DecodeError


@given(st.text(st.characters()), st.integers(1, 5_000))
def test_a_reason_is_cut_to_its_bytes_in_both_headers_that_tell_it(text, times):
    error = DecodeError(text * times)
    headers = dead_letter_headers(topic="t", partition=0, offset=1, stage="score canary", error=error)
    assert len(reason_of(error).encode()) <= REASON_BYTES
    told = dict(headers)
    assert told[REASON_HEADER] == told["__connect.errors.exception.message"] == reason_of(error).encode()
    assert sum(len(name) + len(value) for name, value in headers) < 2 * REASON_BYTES + 350


def test_a_short_reason_is_told_whole():
    assert reason_of(DecodeError("no é")) == "no é"
