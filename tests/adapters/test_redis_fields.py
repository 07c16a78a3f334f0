"""The hash `:rollout`: readable by people and by programs, also as older controllers wrote it."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.status import METRICS, STATUS, TRIAL

from stream_router.adapters.redis.fields import status_from_fields, status_to_fields

FULL = replace(STATUS, trial=TRIAL, metrics=METRICS)
moments = st.none() | st.integers(0, 4 * 10**12).map(lambda ms: ms / 1000)
seconds = st.integers(0, 10**12).map(lambda ms: ms / 1000)


def stored(status):
    """As Redis gives it back."""
    return {name.encode(): value.encode() for name, value in status_to_fields(status).items()}


@given(seconds, seconds, st.none() | seconds, moments, moments, moments, st.none() | st.floats(0, 40))
def test_what_is_read_is_what_was_written(window, horizon, ripe_age, written_at, verdict_from, label_at, e_value):
    status = replace(
        FULL,
        window=window,
        label_horizon=horizon,
        ripe_age=ripe_age,
        written_at=written_at,
        verdict_from=verdict_from,
        last_label_at=label_at,
        trial=replace(TRIAL, e_value=e_value),
        metrics=(replace(METRICS[0], e_value=e_value),),
    )
    assert status_from_fields(stored(status)) == status


def test_durations_are_seconds_and_moments_are_read_by_people():
    fields = status_to_fields(FULL)
    assert (fields["window"], fields["label_horizon"], fields["ripe_age"]) == ("60", "86400", "600.5")
    assert fields["written_at"] == "2026-11-23T07:46:40.123+00:00"
    assert fields["holds"].splitlines() == list(STATUS.holds)
    assert fields["limits"].splitlines() == list(STATUS.limits)


def test_each_metric_has_a_sentence_for_people_and_all_are_json_for_programs():
    fields = status_to_fields(FULL)
    for metric in METRICS:
        assert fields[f"metric:{metric.name}"] == metric.sentence
    assert [metric["verdict"] for metric in json.loads(fields["metrics"])] == ["inconclusive", "unhealthy"]


def test_a_hash_of_an_older_controller_is_read():
    """Without what was not known then, and with durations in milliseconds."""
    old = {
        "phase": "Manual",
        "rollout": "3",
        "epoch": "7",
        "canary_weight": "0.1",
        "window": "60000",
        "label_horizon": "86400000",
        "alpha": "0.05",
        "remark": "",
        "verdict": "inconclusive",
        "metric": "accuracy",
        "evidence": "1.5",
        "threshold": "20.0",
        "blocks": "2",
        "stable_labels": "180",
        "stable_bad": "18",
        "canary_labels": "20",
        "canary_bad": "3",
        "unripe": "40",
        "summary": "too few",
    }
    status = status_from_fields({name.encode(): value.encode() for name, value in old.items()})
    assert (status.window, status.label_horizon, status.trial.e_value) == (60.0, 86_400.0, 1.5)
    assert (status.metrics, status.holds, status.written_at) == ((), (), None)


@pytest.mark.parametrize("fields", [{b"metrics": b"[{}]"}, {b"metrics": b"{"}, {b"phase": b"?"}, {b"written_at": b"x"}])
def test_what_the_controller_did_not_write_is_refused(fields):
    with pytest.raises((ValueError, LookupError, TypeError)):
        status_from_fields(stored(FULL) | fields)
