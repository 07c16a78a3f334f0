"""Lanes that do not answer: canary holds and is rolled back once it stays silent, stable only ever holds."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.evidence import POLICY, SECOND, in_force, started

from stream_router.adapters.arrays import pack, unpack
from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.deciding.silence import BREAK_MS, SilentLanes
from stream_router.core.evidence import Evidence, Silence

WAIT = 8 * SECOND
JUDGED_BY = replace(POLICY, silent_for=WAIT)


def says(at: int, lane: str = "canary", unanswered: int = 812, rollout: int = 1) -> Evidence:
    """The controller's word at so many milliseconds; None is a record of something else."""
    return Evidence(by="c", written_at=at, silences=(Silence(lane, rollout, 1_000, unanswered),))


def nothing(at: int) -> Evidence:
    return Evidence(by="c", written_at=at, watermark=at, partition=0)


def heard(*records: Evidence, policy=JUDGED_BY) -> SilentLanes:
    lanes = SilentLanes(policy, 1, "canary 7")
    for record in records:
        lanes.on_record(record)
    return lanes


steps = st.lists(
    st.tuples(st.integers(0, 40 * SECOND), st.sampled_from(["canary", "stable", ""]), st.sampled_from([0, 3])),
    max_size=30,
)


def history(given_steps) -> list[Evidence]:
    """Records at rising times: of a lane's silence or its end, or of something else."""
    at, records = 0, []
    for later, lane, unanswered in given_steps:
        at += later
        records.append(says(at, lane, unanswered) if lane else nothing(at))
    return records


def is_silent(records, lane, at) -> bool:
    """Whether the lane is silent at a time by what the records say; by brute force."""
    said = [(r.written_at, s.unanswered) for r in records for s in r.silences if s.lane == lane]
    return bool(said) and said[-1][1] > 0 and at - said[-1][0] <= BREAK_MS


def is_to_be_rolled_back(records) -> bool:
    """Whether canary was silent, and stable was not, from some record on until one WAIT later that says so again."""
    for last, record in enumerate(records, 1):
        if not any(silence.lane == "canary" and silence.unanswered for silence in record.silences):
            continue
        for first in range(last, 0, -1):
            after, at = records[:first], records[first - 1].written_at
            if not is_silent(after, "canary", at) or is_silent(after, "stable", at):
                break
            if record.written_at - at >= WAIT:
                return True
            if not is_silent(after[:-1], "canary", at):
                break
    return False


@given(steps)
def test_canary_is_to_be_rolled_back_exactly_where_it_alone_was_silent_for_so_long_without_a_break(given_steps):
    records = history(given_steps)
    assert (heard(*records).unanswered is not None) is is_to_be_rolled_back(records)


@given(steps)
def test_stable_is_never_the_reason_of_a_rollback(given_steps):
    records = [replace(r, silences=tuple(s._replace(lane="stable") for s in r.silences)) for r in history(given_steps)]
    assert heard(*records).unanswered is None


@given(steps)
def test_a_lane_holds_exactly_while_it_is_silent(given_steps):
    lanes = SilentLanes(POLICY, 1)
    for record in history(given_steps):
        lanes.on_record(record)
        assert [hold.split()[0] for hold in lanes.holds] == sorted(lanes.silent, reverse=True)


@given(steps, st.integers(0, 30))
def test_a_snapshot_changes_nothing(given_steps, cut):
    records = history(given_steps)
    moved = SilentLanes.restored(JUDGED_BY, 1, unpack(pack(heard(*records[:cut]).state())))
    for record in records[cut:]:
        moved.on_record(record)
    assert moved.state() == heard(*records).state()


@given(steps, st.integers(-(10**6), 10**6))
def test_the_brokers_time_counts_where_it_is_told(given_steps, skew):
    records = history(given_steps)
    told = [replace(record, appended_at=record.written_at, written_at=skew * n) for n, record in enumerate(records)]
    assert heard(*told).state() == heard(*records).state()


def test_the_sentences_name_requests_deadline_and_the_oldest():
    silent = heard(says(0), says(WAIT))
    sentence = "canary 7 does not answer: 812 requests wait for more than 5 s, the oldest since 1970-01-01 00:00:01 UTC"
    assert silent.unanswered == f"{sentence}, for 8 s after that was found"
    assert heard(says(0)).unanswered is None
    assert heard(says(0)).holds == (f"{sentence}; it is rolled back if it stays silent for 8 s",)
    (stable,) = heard(says(0, "stable", 1)).holds
    assert stable.startswith("stable does not answer: 1 request waits for more than 5 s")
    assert stable.endswith("nothing is rolled back for that: see to its scoring job")


@pytest.mark.parametrize(
    ("deadline", "waits"), [(2 * SECOND, 60 * SECOND), (60 * SECOND, 60 * SECOND), (300 * SECOND, 300 * SECOND)]
)
def test_by_default_a_restart_has_a_minute_and_no_less_than_a_deadline(deadline, waits):
    policy = replace(POLICY, prediction_deadline=deadline)
    often = [says(at) for at in range(0, waits + 1, 5 * SECOND)]
    assert heard(*often[:-1], policy=policy).unanswered is None
    assert heard(*often, policy=policy).unanswered is not None


def both(at: int, *, stable: int = 812) -> Evidence:
    silences = (Silence("stable", 1, 1_000, stable), Silence("canary", 1, 1_000, 812))
    return Evidence(by="c", written_at=at, silences=silences)


def test_an_outage_of_both_lanes_holds_and_canarys_time_begins_as_stable_answers_again():
    outage = [both(at) for at in range(0, 10 * WAIT, SECOND)]
    lanes = heard(*outage)
    assert lanes.unanswered is None
    _, canary = sorted(lanes.holds, reverse=True)
    assert canary.endswith("it is not rolled back while stable does not answer either: see to what both need")
    back = 10 * WAIT
    assert heard(*outage, both(back, stable=0), says(back + WAIT - 1)).unanswered is None
    assert heard(*outage, both(back, stable=0), says(back + WAIT)).unanswered is not None


@pytest.mark.parametrize("other", [{"rollout": 2}, {"lane": "shadow"}])
def test_other_rollouts_and_lanes_say_nothing(other):
    lanes = heard(says(0, **other), says(WAIT, **other))
    assert (lanes.unanswered, lanes.holds) == (None, ())


def test_a_lane_that_answers_again_begins_anew():
    assert heard(says(0), says(4_000, unanswered=0), says(6_000), says(9_000)).unanswered is None
    assert heard(says(0), says(4_000), says(6_000), says(9_000)).unanswered is not None


def test_nothing_follows_from_time_in_which_nobody_looked():
    patient = replace(POLICY, silent_for=60 * SECOND)
    assert heard(says(0), nothing(BREAK_MS + 1), says(70 * SECOND), policy=patient).unanswered is None
    often = [says(at) for at in range(0, 61 * SECOND, BREAK_MS)]
    assert heard(*often, policy=patient).unanswered is not None


def test_a_fold_decides_by_it_at_its_record_also_in_one_restored_from_a_snapshot():
    records = [started(policy=JUDGED_BY), in_force(), says(0), says(WAIT - 1), says(WAIT), says(2 * WAIT)]
    fold, moved = EvidenceFold(POLICY, 1), EvidenceFold(POLICY, 1)
    for offset, record in enumerate(records):
        moved = EvidenceFold.restored(POLICY, 1, unpack(pack(moved.snapshot())))
        assert fold.on_record(offset, record) == moved.on_record(offset, record)
        assert fold.decided == moved.decided
        assert fold.silent(1) == moved.silent(1)
    (verdict,) = fold.decided
    assert (verdict.metric, verdict.role, verdict.offset, verdict.numbers) == ("silence", "guardrail", 4, None)
    assert verdict.reason.startswith("canary v2 does not answer: 812 requests")


def test_a_fold_never_decides_by_a_silent_stable_lane():
    fold = EvidenceFold(POLICY, 1)
    for offset, record in enumerate(
        [started(policy=JUDGED_BY), in_force(), *(says(at, "stable") for at in range(0, 10**5, 1_000))]
    ):
        fold.on_record(offset, record)
    assert fold.decided == ()
    assert fold.silent(1) == {"stable"}
    assert fold.summary(1).holds
