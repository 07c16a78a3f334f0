"""What all metrics together say of a rollout."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.evidence import KINDS, POLICY, Simulation

from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.deciding.numbers import Status
from stream_router.core.deciding.verdict import Verdict, overall
from stream_router.core.policy import METRICS

VERDICT = Verdict(
    metric="accuracy",
    role="guardrail",
    status=Status.INCONCLUSIVE,
    rollout=1,
    epoch=1,
    digest="d",
    stable_version="v1",
    canary_version="v2",
    deciding_label_at=None,
    offset=0,
    numbers=None,
    reason="",
)
verdicts = st.lists(
    st.builds(
        replace, st.just(VERDICT), role=st.sampled_from(["guardrail", "signal"]), status=st.sampled_from(list(Status))
    ),
    max_size=6,
)


def statuses(found, role):
    return [one.status for one in found if one.role == role]


@given(verdicts)
def test_healthy_is_every_guardrail_healthy_and_no_signal_unhealthy(found):
    guardrails, signals = statuses(found, "guardrail"), statuses(found, "signal")
    verdict = overall(found)
    if guardrails:
        healthy = set(guardrails) == {Status.HEALTHY} and Status.UNHEALTHY not in signals
        assert (verdict.status is Status.HEALTHY) is healthy
    assert (verdict is None) is (not found)


@given(verdicts)
def test_whatever_is_unhealthy_speaks_for_all(found):
    unhealthy = [one for one in found if one.status is Status.UNHEALTHY]
    verdict = overall(found)
    assert (verdict is unhealthy[0]) if unhealthy else (verdict is None or verdict.status is not Status.UNHEALTHY)


def test_without_guardrails_nothing_is_healthy_while_a_signal_is_not():
    signal = replace(VERDICT, role="signal")
    assert overall([replace(signal, status=Status.HEALTHY), signal]) is signal


@pytest.mark.parametrize("canary", [0.1, 0.3])
def test_an_equal_canary_becomes_healthy_under_the_default_metrics_and_a_worse_one_does_not(canary):
    """Two-sided tests can't say healthy, and are signals."""
    policy = replace(POLICY, metrics=tuple(replace(one, margin=0.15) for one in METRICS))
    error = {"stable": 0.1, "canary": canary}
    simulation = Simulation(seed=1, seconds=300, a_second=40, error=error, policy=policy, kinds=KINDS)
    fold = EvidenceFold(policy, 2)
    for offset, record in enumerate(simulation.records()):
        fold.on_record(offset, record)
    summary = fold.summary(1)
    two_sided = {one.metric: one.status for one in summary.verdicts if one.metric in ("attrition", "prediction_mix")}
    assert set(two_sided.values()) == {Status.INCONCLUSIVE}
    assert (summary.verdict.status is Status.HEALTHY) is (canary == 0.1)
