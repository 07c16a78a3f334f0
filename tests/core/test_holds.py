"""Holds: each is told where it is, with its numbers, and none where all goes well."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.evidence import POLICY as SHORT
from support.evidence import SECOND, VERSIONS, flush, in_force, started

from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.deciding.numbers import Status
from stream_router.core.evidence import Count, Evidence, Silence
from stream_router.core.histogram import bucket_of
from stream_router.core.policy import Limit, MetricPolicy
from stream_router.core.rollout.holds import holds_of
from stream_router.core.rollout.lane_look import LaneLook
from stream_router.core.rollout.situation import REASONS, Situation
from stream_router.core.routing.applied_split import AppliedSplit

POLICY = replace(SHORT, label_horizon=1_000 * SECOND)
NOW = 200 * SECOND
RIPE = 20 * SECOND
"""Windows are 10 s: what began before 170 s is ripe at NOW."""


def count(lane="stable", window=0, **counts) -> Count:
    given = {"predicted": 100, "labelled": 100, "correct": 90, "delays": {bucket_of(SECOND): 100}}
    version = counts.pop("model_version", VERSIONS.stable if lane == "stable" else VERSIONS.canary)
    return Count(window=window, rollout=1, lane=lane, model_version=version, **(given | counts))


def looks(**lanes) -> dict:
    """By lane, what differs from a lane that answers."""
    return {
        lane: LaneLook(lane=lane, rollout=1, **({"members": 1} | lanes.get(lane, {}))) for lane in ("stable", "canary")
    }


def split(canary=0.1) -> AppliedSplit:
    raw = f'{{"stable": {1 - canary}, "canary": {canary}}}'.encode()
    return AppliedSplit(raw=raw, canary=canary, epoch=1, rollout=1, bound=VERSIONS)


def situation(counts=None, *records: Evidence, watermark=NOW, canary=0.1, **changes) -> Situation:
    """Both lanes answer and get their labels, for 200 s; unless `counts` say otherwise."""
    if counts is None:
        counts = [count(lane, window) for lane in ("stable", "canary") for window in range(0, NOW, 10 * SECOND)]
    fold = EvidenceFold(POLICY, partitions=1)
    written = [started(policy=POLICY), in_force(canary=canary), *records, flush(0, counts=counts, watermark=watermark)]
    for offset, record in enumerate(written):
        fold.on_record(offset, record)
    given = {
        "now": NOW,
        "in_force": split(canary),
        "since": 0,
        "policy": POLICY,
        "versions": VERSIONS,
        "ripe_age": RIPE,
        "fold": fold,
        "summary": fold.summary(1),
        "looks": looks(),
    }
    return Situation(**(given | changes))


def held(*given, **changes) -> dict[str, str]:
    """The last sentence of each reason."""
    return {hold.reason: hold.sentence for hold in holds_of(situation(*given, **changes))}


def test_where_all_goes_well_nothing_holds():
    assert held() == {}


def test_every_reason_is_one_of_the_list_once():
    assert len(set(REASONS)) == len(REASONS)


@given(
    st.lists(
        st.builds(
            count,
            lane=st.sampled_from(["stable", "canary"]),
            window=st.integers(0, 19).map(lambda n: n * 10 * SECOND),
            predicted=st.integers(0, 300),
            labelled=st.integers(0, 300),
            correct=st.integers(0, 300),
            late=st.integers(0, 300),
            model_version=st.sampled_from(["v1", "v2", "v3"]),
        ),
        max_size=20,
    ),
    st.integers(0, 400 * SECOND),
    st.sampled_from([0.0, 0.1, 1.0]),
)
def test_whatever_was_counted_holds_are_of_the_list_and_none_without_a_share(counts, now, canary):
    holds = holds_of(situation(counts, now=now, canary=canary))
    assert {hold.reason for hold in holds} <= set(REASONS)
    assert canary or not holds
    assert any(hold.reason == "unjudged" for hold in holds) is (canary == 1.0)
    assert all("\n" not in hold.sentence for hold in holds)


def test_canary_with_all_requests_is_unjudged():
    assert "nothing is tested" in held(canary=1.0)["unjudged"]


def test_nothing_at_all_is_told_after_a_while():
    assert held([], since=NOW - 15 * SECOND) == {}
    assert "no prediction of rollout 1" in held([], since=NOW - 16 * SECOND)["no_data"]


@pytest.mark.parametrize(("requests", "is_held"), [(0, False), (3, True)])
def test_a_lane_that_has_requests_and_gives_no_prediction(requests, is_held):
    """Ends of transactions, which `behind` counts, too, are none."""
    one_lane = [count(window=window, predicted=5, labelled=5) for window in range(0, 30 * SECOND, 10 * SECOND)]
    found = held(one_lane, looks=looks(canary={"behind": 9, "unanswered": requests}))
    assert ("no_predictions" in found) is is_held
    if is_held:
        assert "canary v2 has 0.1 of the requests since 1970-01-01 00:00:00 UTC" in found["no_predictions"]
        assert "stable has given 15" in found["no_predictions"]


def test_where_nobody_looks_into_a_lane_its_share_tells_that_it_should_have_answered():
    assert "no_predictions" in held([count(predicted=1_000)], looks={})
    assert "no_predictions" not in held([count(predicted=100)], looks={})


def test_a_silent_lane():
    silent = Evidence(by="c", written_at=0, silences=(Silence("stable", 1, 0, 7),))
    assert "stable does not answer: 7 requests" in held(None, silent)["silent_lane"]


def test_a_lane_without_a_scoring_job():
    assert "'stream-router score --lane canary'" in held(looks=looks(canary={"members": 0}))["no_scoring_job"]
    assert "no_scoring_job" not in held(looks=looks(canary={"members": None}))
    assert "no_scoring_job" not in held(looks=looks(canary={"members": 0, "has_committed": False}))


def test_evidence_that_is_old_or_was_never_written():
    assert "partition 0 is up to 61 s old" in held(now=NOW + 61 * SECOND)["stale_evidence"]
    assert "stale_evidence" not in held(now=NOW + 60 * SECOND)
    assert "no monitor has joined partition 0 yet" in held(watermark=None)["stale_evidence"]


LIMITED = replace(POLICY, limits=(Limit(metric="error_rate", bound=0.05),))


def test_limits_that_cannot_be_checked_say_since_when_and_why():
    """One partition's monitor that is down makes them blind."""
    assert "limits_unchecked" not in held(policy=LIMITED, now=NOW + 60 * SECOND)
    sentence = held(policy=LIMITED, now=NOW + 61 * SECOND)["limits_unchecked"]
    assert sentence == (
        "the policy's limits cannot be checked since 1970-01-01 00:03:20 UTC: partition 0 has had no watermark for 61 s"
    )
    never = held(policy=LIMITED, watermark=None)["limits_unchecked"]
    assert never.endswith("since 1970-01-01 00:00:00 UTC: partition 0 has had no watermark for 200 s")
    assert "limits_unchecked" not in held(now=NOW + 61 * SECOND), "there are none"


def test_predictions_that_come_too_late():
    sentence = held([count(), count("canary", predicted=100, late=60, labelled=100)])["late"]
    assert sentence.startswith("60 of the 100 predictions of canary v2 came more than 5 s after their routing")


def test_predictions_of_another_version_are_named_while_they_come():
    old_job = count(window=190 * SECOND, model_version="v0", predicted=812)
    sentence = held([*situation_counts(), old_job])["not_ours"]
    assert sentence.startswith("stable's predictions carry version v0, the rollout is bound to v1: 812 of the newest")
    ended = count(window=100 * SECOND, model_version="v0")
    assert "not_ours" not in held([*situation_counts(), ended])


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("tolerance", 0.5, "tolerance 0.5 in place of 0.0"), ("bad", "m:bad", "bad m:bad in place of None")],
)
def test_a_monitor_that_joins_by_other_settings_than_the_rollout_began_with_says_so(name, value, told):
    assert "other_settings" not in held(joined_by=replace(POLICY, alpha=0.01))
    sentence = held(joined_by=replace(POLICY, **{name: value}))["other_settings"]
    assert sentence.startswith("the monitor joins with other settings than rollout 1 began with")
    assert told in sentence


def situation_counts():
    return [count(lane, window) for lane in ("stable", "canary") for window in range(0, NOW, 10 * SECOND)]


def without_labels(**changes):
    return count(labelled=0, correct=0, delays={}, **changes)


def test_no_label_at_all():
    counts = [without_labels(lane=lane, window=180 * SECOND) for lane in ("stable", "canary")]
    assert held(counts)["no_labels"] == "none of the 200 predictions of this rollout has a label yet"


def test_labels_that_have_stopped_and_when_the_last_came():
    stopped = [count(lane, 0) for lane in ("stable", "canary")]
    stopped += [without_labels(lane="stable", window=window) for window in range(10 * SECOND, NOW, 10 * SECOND)]
    found = held(stopped, last_label_at=9 * SECOND)
    assert "labels have stopped: none has come for 300 predictions that are older than 20 s" in found["labels_stopped"]
    assert found["labels_stopped"].endswith("; the newest label came at 1970-01-01 00:00:09 UTC")
    only_young = [w for w in stopped if w.window == 0 or w.window > 170 * SECOND]
    assert "labels_stopped" not in held(only_young)


def test_with_a_long_ripe_age_labels_that_usually_come_fast_are_missed_soon():
    """Else a first rollout, whose ripe age is the label horizon, would miss them a day later."""
    stopped = [count(window=0)] + [without_labels(window=window) for window in range(10 * SECOND, NOW, 10 * SECOND)]
    assert "labels_stopped" in held(stopped, ripe_age=100 * SECOND)


def test_too_few_labels():
    few = [count(window=w, labelled=9, correct=9) for w in range(0, NOW, 10 * SECOND)]
    assert held(few)["few_labels"].startswith("too few labels: 162 for the 1,800 predictions that are older than 20 s")
    assert "few_labels" not in held([count(window=w, labelled=10) for w in range(0, NOW, 10 * SECOND)])


def test_without_accuracy_labels_are_not_missed():
    policy = replace(POLICY, metrics=(MetricPolicy(name="error_rate", role="guardrail", weight=1.0),))
    assert "no_labels" not in held([without_labels()], policy=policy)


@pytest.mark.parametrize(("changes", "is_held"), [({}, True), ({"correct": 1}, False), ({"errors": 100}, False)])
def test_predictions_of_which_none_ever_agrees_with_its_label(changes, is_held):
    """A canary that only fails is another matter."""
    found = held([count(), count("canary", **({"correct": 0} | changes))])
    assert ("no_agreement" in found) is is_held
    if is_held:
        assert found["no_agreement"].startswith("none of canary v2's 100 labelled predictions agrees with its label")


def test_an_unhealthy_signal_holds_and_a_guardrail_does_not():
    at = situation()
    verdict = replace(at.summary.verdict, status=Status.UNHEALTHY, metric="coverage", role="signal", reason="unequal")
    signal = replace(at.summary, verdicts=(at.summary.verdict, verdict))
    guardrail = replace(at.summary, verdicts=(replace(verdict, role="guardrail"),))
    assert held(summary=signal) == {"coverage": "unequal"}
    assert held(summary=guardrail) == {}


def test_a_test_that_can_learn_no_more():
    at = situation()
    kinds = {kind: replace(found, entities_used_up=True) for kind, found in at.summary.kinds.items()}
    used_up = replace(at.summary, kinds=kinds, max_labels_reached=True)
    assert held(summary=used_up).keys() == {"entities_used_up", "max_labels"}
