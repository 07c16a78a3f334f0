"""The routing header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_router.core.routing.header import HEADER, Routing, parse_routing
from stream_router.errors import HeaderError

numbers = st.integers(0, 10**18 - 1)
digests = st.text("0123456789abcdef", min_size=12, max_size=12)
routings = st.builds(Routing, epoch=numbers, digest=digests, rollout=numbers, routed_at=numbers)


def test_the_form_is_the_documented_one():
    routing = Routing(epoch=7, digest="1f3a9c0b77d2", rollout=3, routed_at=1_795_420_000_123)
    assert routing.encode() == b"epoch=7;split=1f3a9c0b77d2;rollout=3;t=1795420000123"


@given(routings)
def test_what_was_encoded_is_parsed(routing):
    assert parse_routing([("ce_id", b"1"), (HEADER, routing.encode())]) == routing


@given(routings, routings)
def test_of_several_the_last_counts(first, last):
    assert parse_routing([(HEADER, first.encode()), (HEADER, last.encode()), ("traceparent", b"0")]) == last


@pytest.mark.parametrize("headers", [None, [], [("traceparent", b"00")], [(HEADER, None)]])
def test_a_record_without_the_header_is_refused(headers):
    with pytest.raises(HeaderError, match="only records that a router wrote"):
        parse_routing(headers)


@given(st.binary())
def test_hostile_bytes_are_parsed_exactly_or_refused(value):
    try:
        routing = parse_routing([(HEADER, value)])
    except HeaderError:
        return
    assert routing.encode() == value


@pytest.mark.parametrize(
    "value",
    [
        b"epoch=7;split=1f3a9c0b77d2;rollout=3",
        b"epoch=7;split=1F3A9C0B77D2;rollout=3;t=1",
        b"epoch=-1;split=1f3a9c0b77d2;rollout=3;t=1",
        b"epoch=7;split=1f3a9c0b77d2;rollout=3;t=1\n",
        b"epoch=7;split=1f3a9c0b77d2;rollout=3;t=99999999999999999999",
    ],
)
def test_a_malformed_header_is_refused_with_the_right_form(value):
    with pytest.raises(HeaderError, match="expected epoch=7;split="):
        parse_routing([(HEADER, value)])
