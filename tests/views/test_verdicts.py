"""Verdicts as people and scripts see them."""

import json
from dataclasses import replace

import pytest
from support.evidence import POLICY, SECOND, Simulation

from stream_router.core.deciding.backtest import Retrial, under
from stream_router.core.rollout.recorded import compared
from stream_router.core.rollout.rollout_event import verdict_event
from stream_router.views import backtest, verdicts

RECORDS = Simulation(seed=1, seconds=60).records()
STARTED = RECORDS[0].rollout_started


def retried(started=STARTED):
    retrial = Retrial(started, 2)
    for offset, record in enumerate(RECORDS):
        retrial.on_record(offset, replace(record, appended_at=60_000 * offset))
    return retrial


@pytest.fixture(scope="module")
def retrial():
    return retried()


@pytest.fixture(scope="module")
def event(retrial):
    return verdict_event(retrial.fell[0].verdict, now=9)


def replay(retrial, events):
    return verdicts.Replay(
        comparison=compared(events, retrial.fell, None),
        odds_ratios=tuple(retrial.odds_ratio(one.metric, one.evidence_offset) for one in events),
        standing=tuple((one, retrial.odds_ratio(one.metric)) for one in retrial.verdicts),
        read_to=len(RECORDS),
    )


def test_a_verdict_is_shown_with_its_numbers_and_the_replay_that_agrees(retrial, event):
    text = "\n".join(verdicts.lines("flights", 1, [event], replay(retrial, [event])))
    n = event.numbers
    for part in (
        f"accuracy: unhealthy, guardrail, at offset {event.evidence_offset} of flights.evidence",
        f"canary {n.canary_bad} of {n.canary_labels}",
        "e-value 33.3333, unhealthy at 33.3333",
        f"judged by policy {POLICY.digest}",
        "replayed: the same, bit for bit",
        "canary's odds of a bad outcome are at least ",
        "the replay agrees, bit for bit",
    ):
        assert part in text


def test_what_differs_and_what_is_lacking_is_said_loudly(retrial, event):
    changed = replace(event, evidence_offset=3)
    text = "\n".join(verdicts.lines("flights", 1, [changed], replay(retrial, [changed])))
    assert "REPLAYED OTHERWISE: it falls at offset" in text
    assert "THE REPLAY DISAGREES" in text
    assert "NOT RECORDED: accuracy: unhealthy" in "\n".join(verdicts.lines("flights", 1, [], replay(retrial, [])))
    assert "nothing is shown" in next(verdicts.lines("flights", 1, [], None))


def test_the_document_is_json_without_infinities(retrial, event):
    told = json.loads(json.dumps(verdicts.document("flights", 1, [event], replay(retrial, [event])), allow_nan=False))
    (one,) = told["verdicts"]
    assert (one["agrees"], one["differs"], told["replay"]["agrees"]) == (True, None, True)
    assert one["canary_rate"] == event.numbers.canary_bad / event.numbers.canary_labels
    assert {verdict["metric"] for verdict in told["replay"]["standing"]} >= {"accuracy", "error_rate"}
    assert "replay" not in verdicts.document("flights", 1, [event], None)


@pytest.fixture(scope="module")
def tried(event):
    def of(policy):
        found = retried(under(STARTED, policy))
        return backtest.Tried(
            rollout=1,
            started_at=found.started_at,
            recorded=POLICY,
            other=policy,
            decided=(replace(event, decided_at=event.evidence_offset * 60_000),),
            fell=tuple(found.fell),
            standing=found.verdicts,
        )

    return of


def test_a_policy_that_never_decides_says_how_it_stands(tried):
    text = "\n".join(backtest.lines("flights", [tried(replace(POLICY, alpha=1e-60))]))
    assert "alpha: 1e-60 instead of 0.05" in text
    assert "would decide: never; canary v2 is not shown to be less accurate" in text


def test_both_moments_are_told_in_minutes_after_the_start(tried, event):
    one = tried(replace(POLICY, ripe_age=30 * SECOND))
    (verdict,) = json.loads(json.dumps(backtest.document("flights", [one]), allow_nan=False))["rollouts"][0]["verdicts"]
    assert verdict["decided"]["minutes"] == event.evidence_offset
    assert verdict["would_decide"]["minutes"] == verdict["would_decide"]["offset"] > event.evidence_offset
    text = "\n".join(backtest.lines("flights", [one]))
    assert f"decided: offset {event.evidence_offset}, " in text
    assert f"{event.evidence_offset:.1f} minutes after the start" in text


def test_no_rollout_is_said():
    assert list(backtest.lines("flights", [])) == ["no rollout of route flights began then"]
