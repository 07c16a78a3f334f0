"""Records that people and tools read: what is written is read, also what version 1 wrote."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.avro import written_by

from stream_router.adapters.avro.codec import Codec
from stream_router.adapters.avro.records import (
    decode_rollout_event,
    decode_windowed_accuracy,
    encode_rollout_event,
    encode_windowed_accuracy,
)
from stream_router.core.deciding.numbers import Numbers
from stream_router.core.deciding.windows import WindowedAccuracy
from stream_router.core.rollout.rollout_event import RolloutEvent
from stream_router.errors import DecodeError

NEW = ("late", "error_rate", "model_latency_p50", "model_latency_p99")
"""Fields of a window that version 1 did not have."""

long = st.integers(0, 2**62)
windows = st.builds(
    WindowedAccuracy,
    **{
        field.name: {
            "int": long, "str": st.text(max_size=5), "float | None": st.none() | st.floats(0, 1),
            "int | None": st.none() | long,
        }[field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))]
        for field in fields(WindowedAccuracy)
    },
)  # fmt: skip


@given(windows)
def test_a_window_is_read_as_it_was_written(window):
    assert decode_windowed_accuracy(encode_windowed_accuracy(window)) == window


@given(windows)
def test_a_window_of_version_1_is_read_without_what_it_did_not_tell(window):
    record = {field.name: getattr(window, field.name) for field in fields(window) if field.name not in NEW}
    read = decode_windowed_accuracy(written_by(1, "windowed_accuracy", record))
    assert read == replace(window, late=0, error_rate=None, model_latency_p50=None, model_latency_p99=None)


def test_a_rollback_without_a_test_has_no_numbers():
    event = RolloutEvent(
        kind="rollback",
        rollout=1,
        epoch=2,
        digest="d",
        metric="limit:error_rate",
        verdict="unhealthy",
        reason="canary 7 breaks its limit",
        decided_at=3,
    )
    assert decode_rollout_event(encode_rollout_event(event)) == event
    numbers = Numbers(
        stable_labels=1,
        stable_bad=2,
        canary_labels=3,
        canary_bad=4,
        blocks=5,
        difference=0.1,
        difference_low=0.2,
        difference_high=0.3,
        e_value=20.0,
        threshold=33.3,
    )
    tested = replace(event, metric="accuracy", numbers=numbers)
    assert decode_rollout_event(encode_rollout_event(tested)) == tested


def test_a_verdict_carries_role_and_policy_and_a_rollback_is_read_by_older_versions():
    rollback = RolloutEvent(
        kind="rollback", rollout=1, epoch=2, digest="d", verdict="unhealthy", reason="", decided_at=3
    )
    verdict = replace(rollback, kind="verdict", role="signal", policy_digest="0123456789ab")
    assert decode_rollout_event(encode_rollout_event(verdict)) == verdict
    old = Codec.of("rollout_event", newest=1)
    assert old.decode(encode_rollout_event(rollback))["kind"] == "rollback"
    with pytest.raises(DecodeError, match="unknown schema fingerprint"):
        old.decode(encode_rollout_event(verdict))
