"""A split is accepted exactly when it is valid, and a refusal shows a form that is."""

import hashlib
import json
import math
import re
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from stream_router.core.routing.proposal import Step
from stream_router.core.routing.split import ALL_STABLE, ALL_STABLE_RAW, MAX_BYTES, Split, digest_of, parse_split
from stream_router.errors import SplitError

fractions = st.just(0.0) | st.floats(1e-6, 1 - 1.1e-6) | st.just(1.0)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
weights = st.one_of(
    st.integers(-2, 120),
    st.floats(-0.5, 1.5),
    st.floats(0, 2e-6),
    fractions,
    st.sampled_from(["10%", "0.1", True, None]),
)
documents = st.dictionaries(st.sampled_from(["stable", "canary", "shadow"]), weights)


def is_valid(document: Any) -> bool:
    """The rule, written a second time."""
    return (
        isinstance(document, dict)
        and "stable" in document
        and set(document) <= {"stable", "canary"}
        and all(type(weight) in (int, float) and (weight == 0 or 1e-6 <= weight <= 1) for weight in document.values())
        and abs(math.fsum(document.values()) - 1) <= 1e-9
    )


def shown_forms(message: str) -> list[str]:
    """Documents that the message offers, after the quotation of what was written."""
    return re.findall(r"(?:as|in) (\{[^{}]*\})", message)


@given(fractions)
@example(0.0)
@example(1e-6)
@example(1.0)
def test_fractions_that_sum_to_one_are_accepted(canary: float) -> None:
    split = parse_split(json.dumps({"stable": 1 - canary, "canary": canary}).encode())
    assert (split.stable, split.canary) == (1 - canary, canary)


@given(documents | json_values)
def test_accepted_exactly_when_valid(document: Any) -> None:
    raw = json.dumps(document).encode()
    if is_valid(document):
        assert parse_split(raw).stable == document["stable"]
    else:
        with pytest.raises(SplitError):
            parse_split(raw)


@given(documents | json_values)
def test_a_refusal_shows_a_form_that_is_right(document: Any) -> None:
    assume(not is_valid(document))
    with pytest.raises(SplitError) as error:
        parse_split(json.dumps(document).encode())
    forms = shown_forms(str(error.value))
    assert forms
    parse_split(forms[-1].encode())


@given(st.binary(max_size=200))
@example(b"")
@example(b"[" * 4000)
@example(b"\xff")
@example(b'{"stable": 1e999}')
@example(b'{"stable": ' + b"9" * 400 + b"}")
@example(b" " * (MAX_BYTES + 1))
def test_no_bytes_raise_anything_but_a_refusal(raw: bytes) -> None:
    try:
        split = parse_split(raw)
    except SplitError as error:
        assert shown_forms(str(error))  # noqa: PT017 - that something was raised is not what is tested
    else:
        assert is_valid(json.loads(raw))
        assert split.stable + split.canary == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("raw", "form"),
    [
        (b'{"stable": 90, "canary": 10}', '{"stable": 0.9, "canary": 0.1}'),
        (b'{"stable": 9, "canary": 1}', '{"stable": 0.9, "canary": 0.1}'),
        (b'{"stable": "80%", "canary": "20%"}', '{"stable": 0.8, "canary": 0.2}'),
        (b'{"stable": 0.9, "canary": 0.05}', '{"stable": 0.95, "canary": 0.05}'),
        (b'{"canary": 0.25}', '{"stable": 0.75, "canary": 0.25}'),
        (b'"10%"', '{"stable": 0.9, "canary": 0.1}'),
        (b'{"stable": 0.9999999, "canary": 1e-7}', '{"stable": 0.999999, "canary": 1e-06}'),
        (b'{"stable": 1e-9, "canary": 0.999999999}', '{"stable": 1e-06, "canary": 0.999999}'),
        (b'{"stable": 1e9, "canary": 1}', '{"stable": 0.999999, "canary": 1e-06}'),
    ],
)
def test_a_refusal_guesses_what_was_meant(raw: bytes, form: str) -> None:
    with pytest.raises(SplitError, match=re.escape(form)):
        parse_split(raw)


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (b'{"stable": 0.9, "canary": 0.1, "canary": 0.1}', "twice"),
        (b'{"stable": NaN}', "NaN"),
        (b'{"stable": Infinity}', "Infinity"),
        (b'{"stable": true, "canary": 0}', "true"),
        (b'{"stable": 1.1, "canary": -0.1}', "1.1"),
        (b'{"stable": 0.9, "shadow": 0.1}', "shadow"),
        (b'{"stable": 1.0, "canary": 5e-10}', "canary is 5e-10, and the smallest share above 0 is 1e-06"),
        (b"stable=1", "not JSON"),
        (b"", "empty"),
    ],
)
def test_a_refusal_says_what_was_wrong(raw: bytes, complaint: str) -> None:
    with pytest.raises(SplitError, match=re.escape(complaint)):
        parse_split(raw)


def test_a_lane_that_is_not_named_gets_nothing() -> None:
    assert parse_split(b'{"stable": 1}') == Split(stable=1.0, canary=0.0)


def test_the_document_of_a_rollback_is_all_stable() -> None:
    assert parse_split(ALL_STABLE_RAW) == ALL_STABLE


@given(st.binary())
def test_the_digest_is_twelve_digits_of_sha256(raw: bytes) -> None:
    assert digest_of(raw) == hashlib.sha256(raw).hexdigest()[:12]


@given(fractions)
@example(1e-6)
@example(0.1)
@example(0.999999)
def test_a_step_writes_a_valid_document_of_its_weight(canary: float) -> None:
    assert parse_split(Step(on=1, canary=canary).raw).canary == canary


@pytest.mark.parametrize(
    "step",
    [{"canary": 1.5}, {"canary": -0.1}, {"canary": 1e-7}, {"canary": 0.9999999}, {"canary": 0.1, "promote": True}],
)
def test_a_step_that_makes_no_sense_is_refused(step: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="canary's weight"):
        Step(on=1, **step)
