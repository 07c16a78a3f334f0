"""The status of a rollout, as people read it."""

import pytest
from support.evidence import POLICY, SECOND, VERSIONS, Simulation

from stream_router.adapters.arrays import pack, unpack
from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.deciding.numbers import Status
from stream_router.core.evidence import Evidence, Silence
from stream_router.core.rollout.controller import Controller
from stream_router.core.rollout.lane_look import LaneLook, Wanted
from stream_router.core.rollout.rollout_event import ROLLBACK, RolloutEvent
from stream_router.core.routing.applied_split import AppliedSplit

NOW = 90 * SECOND
BY_HAND = "canary v2 gets 30 % of the requests, as an operator set it"


def split(canary=0.3, rollout=1, epoch=1, time=5 * SECOND) -> AppliedSplit:
    raw = f'{{"stable": {1 - canary}, "canary": {canary}}}'.encode()
    return AppliedSplit(raw=raw, canary=canary, epoch=epoch, rollout=rollout, bound=VERSIONS, time=time)


def running(*more: Evidence, split=split(), **simulation) -> Controller:  # noqa: B008 - frozen
    equal = {"stable": 0.1, "canary": 0.1}
    one = Controller(policy=POLICY, fold=EvidenceFold(POLICY, 2), position=0)
    one.on_split(split)
    records = Simulation(seed=1, **({"error": equal, "seconds": 90} | simulation)).records()
    for offset, record in enumerate([*records, *more]):
        one.on_evidence(offset, record)
    return one


def test_durations_and_moments_are_seconds():
    status = running().status(NOW)
    assert (status.window, status.label_horizon, status.ripe_age) == (10.0, 100.0, 20.0)
    assert (status.written_at, status.verdict_from) == (90.0, 30.0)
    assert 60 < status.last_label_at <= 90


def test_every_metric_that_is_judged_has_its_numbers():
    one = running()
    summary = one.summary
    for metric, verdict in zip(one.status(NOW).metrics, summary.verdicts, strict=True):
        numbers = verdict.numbers
        assert (metric.name, metric.role, metric.verdict) == (verdict.metric, verdict.role, verdict.status)
        assert (metric.e_value, metric.threshold, metric.sentence) == (
            numbers.e_value,
            numbers.threshold,
            verdict.reason,
        )
        assert (metric.stable_outcomes, metric.canary_bad) == (numbers.stable_labels, numbers.canary_bad)


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (NOW, BY_HAND),
        (
            29 * SECOND,
            f"{BY_HAND}; labels are waited for 20 s, so that accuracy is judged from 1970-01-01 00:00:30 UTC on",
        ),
    ],
)
def test_the_phase_is_told_in_words_and_from_when_on_accuracy_is_judged(now, says):
    assert running().status(now).says == says


def test_idle_and_rolled_back_in_words():
    one = running()
    one.on_split(split(canary=0.0, epoch=2))
    assert one.status(NOW).says == "canary gets no requests"
    one.on_event(event("worse"))
    status = one.status(NOW)
    assert status.says == "canary v2 was rolled back and gets no requests: worse"
    assert (status.ripe_age, status.verdict_from) == (None, None)


def event(reason, **changes) -> RolloutEvent:
    given = {"kind": ROLLBACK, "rollout": 1, "epoch": 1, "digest": "", "verdict": "unhealthy", "decided_at": 1}
    return RolloutEvent(reason=reason, **(given | changes))


def test_what_a_plain_rule_decided_is_shown_without_an_e_value():
    silent = [
        Evidence(by="c", written_at=at, silences=(Silence("canary", 1, 0, 9),))
        for at in range(0, 61 * SECOND, 20 * SECOND)
    ]
    status = running(*silent).status(NOW)
    assert (status.trial.verdict, status.trial.metric, status.trial.e_value) == (Status.UNHEALTHY, "silence", None)
    assert status.metrics[-1].sentence == status.trial.summary
    assert status.trial.summary.startswith("canary v2 does not answer: 9 requests wait")


def test_a_rollback_by_a_person_has_no_verdict():
    one = Controller(policy=POLICY, fold=EvidenceFold(POLICY, 1), position=0)
    one.on_split(split(canary=0.0))
    one.on_event(event("on call", verdict="abort"))
    status = one.status(NOW)
    assert (status.trial, status.says) == (None, "canary v2 was rolled back and gets no requests: on call")


def test_the_last_label_is_that_of_the_rollout_in_force():
    one = running(split=split(rollout=2))
    assert one.status(NOW).last_label_at is None


def test_a_successor_that_begins_from_a_snapshot_knows_when_the_last_label_came():
    one = running()
    fold = EvidenceFold.restored(POLICY, 2, unpack(pack(one.fold.snapshot())))
    successor = Controller(policy=POLICY, fold=fold, position=one.next_offset, next_offset=one.next_offset)
    successor.on_split(split())
    assert successor.status(NOW).last_label_at == one.status(NOW).last_label_at is not None


@pytest.mark.parametrize(
    ("applied", "lanes"), [(split(), ("stable", "canary")), (split(canary=1.0), ("canary",)), (split(canary=0.0), None)]
)
def test_lanes_with_a_share_are_looked_at_while_canary_has_one(applied, lanes):
    one = running(split=applied)
    expected = lanes and Wanted(rollout=1, since=5 * SECOND, deadline=5 * SECOND, lanes=lanes)
    assert one.wanted == expected
    one.on_event(event("worse"))
    assert one.wanted is None


def test_holds_follow_from_looks_and_end_with_the_rollout():
    one = running()
    one.looks = {"canary": LaneLook(lane="canary", rollout=1, members=0)}
    assert [hold.reason for hold in one.holds(NOW)] == ["no_scoring_job"]
    one.on_event(event("worse"))
    assert one.holds(NOW) == ()


def test_of_a_rollout_whose_evidence_was_lost_nothing_else_is_told():
    one = Controller(policy=POLICY, fold=EvidenceFold(POLICY, 1), position=0, missing_before=1)
    one.on_split(split(rollout=3))
    one.due_writes(now=NOW)
    assert one.holds(NOW) == ()
    assert one.status(NOW).remark.startswith("held: R.evidence no longer holds the beginning")
