"""A rollout judged anew from its evidence: the same as it was judged, or by another policy."""

from dataclasses import replace

import pytest
from support.evidence import POLICY, SECOND, Simulation, in_force

from stream_router.core.deciding.backtest import Retrial, changes, under
from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.evidence import ACCURACY, ERROR
from stream_router.core.policy import METRICS

BAD = Simulation(seed=1)
MILD = Simulation(seed=3, a_second=40, error={"stable": 0.1, "canary": 0.25})
EQUAL = Simulation(
    seed=3,
    seconds=150,
    a_second=40,
    kinds=(ACCURACY, ERROR),
    error={"stable": 0.1, "canary": 0.1},
    policy=replace(
        POLICY,
        label_horizon=30 * SECOND,
        metrics=tuple(replace(one, margin=0.1) for one in METRICS if one.name in ("accuracy", "error_rate")),
    ),
)


def start_of(records):
    return next(record.rollout_started for record in records if record.rollout_started)


def retried(records, policy=None):
    started = start_of(records)
    retrial = Retrial(started if policy is None else under(started, policy), 2)
    for offset, record in enumerate(records):
        retrial.on_record(offset, replace(record, appended_at=1_000 * offset))
    return retrial


def fallen(simulation, **changed):
    policy = replace(simulation.policy, **changed) if changed else None
    return [one.verdict for one in retried(simulation.records(), policy).fell]


@pytest.mark.parametrize("simulation", [BAD, MILD, EQUAL])
def test_judged_by_its_own_policy_a_rollout_gets_the_verdicts_that_it_got(simulation):
    fold, told = EvidenceFold(simulation.policy, 2), []
    for offset, record in enumerate(simulation.records()):
        outputs = fold.on_record(offset, record)
        told += [*outputs.verdicts, *outputs.healthy]
        fold.windows.drop_changed()
    assert told
    assert fallen(simulation) == told == fallen(simulation, alpha=simulation.policy.alpha)
    assert sorted(fold.fallen, key=str) == sorted(told, key=str)


def test_a_stricter_alpha_decides_later_or_never():
    (first,) = fallen(MILD)
    (later,) = fallen(MILD, alpha=1e-6)
    assert later.offset > first.offset
    assert later.numbers.threshold == pytest.approx(1 / (0.6 * 1e-6))
    assert later.policy_digest != first.policy_digest == POLICY.digest
    assert fallen(MILD, alpha=1e-60) == []
    assert retried(MILD.records(), replace(POLICY, alpha=1e-60)).verdicts[0].status == "inconclusive"


def test_a_later_ripe_age_decides_later():
    (first,), (later,) = fallen(BAD), fallen(BAD, ripe_age=40 * SECOND)
    assert later.offset > first.offset


@pytest.mark.parametrize("changed", [{"window": 1}, {"label_horizon": 1, "bad": "a:b"}, {"tolerance": 0.1}])
def test_what_evidence_was_gathered_by_cannot_be_another(changed):
    with pytest.raises(ValueError, match=f"gathered by another {' and '.join(changed)} "):
        under(start_of(BAD.records()), replace(POLICY, **changed))


def test_times_are_those_of_the_records_and_a_later_rollout_ends_it():
    records = BAD.records()
    retrial = retried(records)
    (fell,) = retrial.fell
    assert (retrial.started_at, fell.at, retrial.is_over) == (0, 1_000 * fell.verdict.offset, False)
    cut = retried([*records[:20], in_force(epoch=9, rollout=2), *records[20:]])
    assert (cut.is_over, cut.fell) == (True, [])
    assert [verdict.metric for verdict in cut.verdicts] == [one.name for one in METRICS], "as they stood"


def test_a_metric_is_healthy_at_the_record_at_which_the_proof_was_complete():
    records = EQUAL.records()
    for verdict in fallen(EQUAL):
        assert verdict.status == "healthy"
        before = retried(records[: verdict.offset]).verdicts
        at = retried(records[: verdict.offset + 1]).verdicts
        assert "inconclusive" in {one.status for one in before if one.metric == verdict.metric}
        assert verdict in at


def test_the_odds_ratio_is_of_the_blocks_that_were_bet_on_until_the_offset():
    retrial = retried(BAD.records())
    (fell,) = retrial.fell
    low, high = retrial.odds_ratio("accuracy", fell.verdict.offset)
    assert low >= 1
    assert low < (0.6 / 0.4) / (0.1 / 0.9) < high
    assert retrial.odds_ratio("accuracy", 5) is None
    assert retrial.odds_ratio("revisions") is None


def test_what_differs_between_two_policies_is_named():
    metrics = tuple(replace(one, margin=0.3) if one.name == "accuracy" else one for one in METRICS)
    assert list(changes(POLICY, replace(POLICY, alpha=0.01, metrics=metrics))) == [
        ("alpha", 0.05, 0.01),
        ("metrics.accuracy.margin", 0.02, 0.3),
    ]
