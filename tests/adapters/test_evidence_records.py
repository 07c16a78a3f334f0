"""Records of R.evidence: what is written is read, also what version 1 wrote; what is damaged is refused."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.avro import written_by
from support.evidence import flush, in_force, outcome, started

from stream_router.adapters.avro import evidence as records
from stream_router.adapters.avro.codec import renamed
from stream_router.adapters.avro.evidence import decode_evidence, encode_evidence
from stream_router.core.evidence import BadDelays, Count, Evidence, Outcome, Positions, Silence, in_columns
from stream_router.core.histogram import bucket_of
from stream_router.core.policy import Limit, LimitName, MetricName, MetricPolicy, Policy, Role, Step
from stream_router.errors import DecodeError

long = st.integers(-(2**63), 2**63 - 1)
text = st.text(max_size=5)
histograms = st.dictionaries(st.integers(0, 400), st.integers(1, 10**9), max_size=3)
keys = st.sampled_from([(0, 1, "d1", 1, "canary", "v2", "accuracy"), (9, 2, "d2", 1, "stable", "v1", "accuracy")])
rows = st.builds(lambda key, *row: Outcome(*key, *row), keys, long, long, st.integers(0, 2**62), long, st.booleans())
counts = st.builds(
    lambda window, lane, late, delays, latencies, model: Count(
        window=window,
        rollout=1,
        lane=lane,
        model_version="v1",
        late=late,
        delays=delays,
        latencies=latencies,
        model_latencies=model,
    ),
    long,
    text,
    long,
    histograms,
    histograms,
    histograms,
)


@given(
    st.lists(rows, max_size=20),
    st.lists(counts, max_size=3),
    st.lists(st.builds(BadDelays, long, histograms), max_size=3),
    st.none() | st.builds(Positions, long, long),
)
def test_what_is_written_is_read(outcomes, changes, bad, positions):
    written = replace(
        flush(3, *outcomes, watermark=7, counts=changes, bad_delays=tuple(bad)),
        positions=positions,
        silences=(Silence("canary", 1, 5, 6),),
    )
    assert decode_evidence(encode_evidence(written)) == written


ratios = st.floats(0, 1)
times = st.none() | st.integers(0, 10**12)
policies = st.builds(
    Policy,
    block_time=times,
    entity_period=times,
    metrics=st.lists(
        st.builds(
            MetricPolicy,
            name=st.sampled_from(get_args(MetricName)),
            role=st.sampled_from(get_args(Role)),
            weight=ratios,
            margin=ratios,
        ),
        max_size=3,
    ).map(tuple),
    limits=st.lists(
        st.builds(
            Limit,
            metric=st.sampled_from(get_args(LimitName)),
            bound=st.floats(0, 1e9),
            windows=st.integers(1, 2**40),
            predictions=st.integers(1, 2**40),
        ),
        max_size=3,
    ).map(tuple),
    tolerance=ratios,
    relative_tolerance=ratios,
    bad=st.none() | text,
    ripe_age=times,
    beta=ratios,
    silent_for=times,
    steps=st.lists(
        st.builds(
            Step,
            weight=ratios,
            hold_for=st.integers(0, 2**40),
            min_labels=st.integers(1, 2**40),
            until=st.sampled_from([None, "healthy", "approved"]),
            pause=st.booleans(),
        ),
        max_size=3,
    ).map(tuple),
    max_duration=times,
    on_inconclusive=st.sampled_from(["stable", "pause"]),
    min_coverage=ratios,
    promotion_deadline=st.integers(1, 2**40),
)


@given(policies)
def test_the_policy_of_a_rollout_is_read_as_it_was_written(policy):
    written = started(policy=policy)
    assert decode_evidence(encode_evidence(written)) == written


@given(st.dictionaries(st.floats(0, 2**53).map(float), st.text(max_size=20), max_size=5))
def test_texts_that_values_stand_for_are_told(texts):
    written = replace(flush(0, outcome(metric="prediction", value=1.0)), texts=texts)
    assert decode_evidence(encode_evidence(written)).texts == texts


def test_a_policy_of_version_1_judges_by_accuracy_alone_with_all_of_alpha():
    judged = {"window": 1, "label_horizon": 2, "prediction_deadline": 3, "block_time": None, "alpha": 0.01}
    judged |= {"entity_period": 5, "max_labels": 6, "psi0": 1.5, "assign_by": "request"}
    start = {"rollout": 1, "stable_version": "v1", "canary_version": None, "ripe_age": 4, "first_offset": 0}
    read = decode_evidence(version_1(rollout_started={**start, "policy": judged})).rollout_started
    assert read.policy == Policy(
        window=1,
        label_horizon=2,
        prediction_deadline=3,
        alpha=0.01,
        entity_period=5,
        max_labels=6,
        tolerated_odds_ratio=1.5,
        assign_by="request",
        metrics=(MetricPolicy(name="accuracy", role="guardrail", weight=1.0),),
        steps=(),
    )
    assert read.policy.metric("error_rate").role == "off"


@pytest.mark.parametrize("control", [started(), in_force(), Evidence(by="w", written_at=1)])
def test_control_records_are_read(control):
    assert decode_evidence(encode_evidence(control)) == control


def test_outcomes_of_values_keep_them():
    written = flush(0, outcome(metric="latency", value=0.25), outcome(metric="latency", value=-1.5))
    assert [row.value for row in decode_evidence(encode_evidence(written)).outcomes[0].rows()] == [0.25, -1.5]


def version_1(**fields):
    """A record as version 1 wrote it."""
    record = {"by": "w", "written_at": 1, "partition": 0, "rollout_started": None, "epoch_in_force": None}
    return written_by(1, "evidence", {**record, **fields})


def test_version_1_stays_readable():
    singly = [
        outcome(lane="stable", bad=True, delay=90, order=1),
        outcome(order=2),
        outcome(lane="stable", order=3, delay=70),
    ]
    old = [renamed(row._asdict(), "time", "labelled_at") for row in singly]
    count = {"window": 0, "rollout": 1, "lane": "stable", "model_version": "v1"}
    count |= {"predicted": 2, "errors": 1, "labelled": 1, "correct": 0, "revised": 0, "delays": [], "latencies": []}
    read = decode_evidence(
        version_1(
            outcomes=old,
            counts=[count],
            stable_bad_delays=[{"window": 0, "delay": 90}, {"window": 10, "delay": 5}],
            tick=8,
        )
    )
    assert read.outcomes == in_columns(singly)
    assert read.counts == (
        Count(window=0, rollout=1, lane="stable", model_version="v1", predicted=2, errors=1, labelled=1),
    )
    assert read.bad_delays == (BadDelays(0, {bucket_of(90): 2}), BadDelays(10, {bucket_of(5): 1}))
    assert read.watermark == 8


def test_a_split_of_version_1_does_not_tell_since_when():
    epoch = {"epoch": 1, "digest": "d1", "rollout": 1, "weights": {"stable": 0.9, "canary": 0.1}}
    assert decode_evidence(version_1(epoch_in_force=epoch)).epoch_in_force == in_force().epoch_in_force


@pytest.mark.parametrize("column", ["entity", "order", "delay", "time", "bad"])
@pytest.mark.parametrize("damage", [lambda column: column[:-1], lambda column: column + bytes(8)])
def test_columns_that_do_not_fit_together_are_refused(monkeypatch, column, damage):
    honest = records._outcomes_to_record  # noqa: SLF001 - planted
    monkeypatch.setattr(
        records, "_outcomes_to_record", lambda outcomes: (found := honest(outcomes)) | {column: damage(found[column])}
    )
    data = encode_evidence(flush(0, outcome(), outcome(order=1)))
    with pytest.raises(DecodeError, match="column"):
        decode_evidence(data)


def test_twenty_thousand_outcomes_stay_below_a_megabyte():
    rng = np.random.default_rng(1)
    rows = (outcome(entity=int(e), order=int(o)) for e, o in rng.integers(-(2**62), 2**62, (20_000, 2)))
    assert len(encode_evidence(flush(0, *rows))) < 1_000_000
