"""When it is written that a lane does not answer, and when a look need not read."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.evidence import POLICY, SECOND, flush, in_force, started

from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.evidence import Count, Evidence, Silence
from stream_router.core.rollout.lane_look import EndMarks, LaneLook, Wanted
from stream_router.core.rollout.silences import SilenceRecords

WANTED = Wanted(rollout=1, since=0, deadline=60 * SECOND, lanes=("stable", "canary"))
ANSWERS = LaneLook(lane="canary", rollout=1)
SILENT = LaneLook(lane="canary", rollout=1, unanswered=3, oldest_routed_at=1_000)
SAYS = Silence("canary", 1, 1_000, 3)
ENDS = Silence("canary", 1, 0, 0)


def a_fold(*records: Evidence) -> EvidenceFold:
    fold = EvidenceFold(POLICY, 1)
    for offset, record in enumerate((started(), in_force(), *records)):
        fold.on_record(offset, record)
    return fold


def written(looks, fold=None, wanted=WANTED) -> dict[int, tuple[Silence, ...]]:
    """What is written at which second; `looks` by second, None where nobody knows."""
    records, fold = SilenceRecords(), fold or a_fold()
    due = {
        second: records.due(fold, wanted, {"canary": look} if look else {}, second * SECOND)
        for second, look in enumerate(looks)
    }
    return {second: silences for second, silences in due.items() if silences}


def test_a_silence_is_written_as_it_begins_now_and_then_while_it_lasts_and_as_it_ends():
    looks = [ANSWERS, *[SILENT] * 12, *[ANSWERS] * 9]
    assert written(looks) == {1: (SAYS,), 6: (SAYS,), 11: (SAYS,), 13: (ENDS,)}


@given(st.lists(st.sampled_from([None, ANSWERS, SILENT]), max_size=40))
def test_the_newest_record_is_what_the_newest_look_found(looks):
    said = [silence for silences in written(looks).values() for silence in silences]
    known = [look for look in looks if look]
    assert bool(said and said[-1].unanswered) is bool(known and known[-1].unanswered)
    assert all(one != other or other.unanswered for one, other in pairwise(said))


def test_the_end_of_what_a_predecessor_found_is_written():
    fold = a_fold(Evidence(by="c", written_at=0, silences=(SAYS,)))
    assert written([None, ANSWERS, ANSWERS], fold) == {1: (ENDS,)}


def test_a_lane_that_has_lost_its_share_is_not_silent_any_more():
    fold = a_fold(Evidence(by="c", written_at=0, silences=(SAYS,)))
    only_stable = Wanted(rollout=1, since=0, deadline=60 * SECOND, lanes=("stable",))
    assert written([SILENT], fold, only_stable) == {0: (ENDS,)}


def test_nothing_is_written_of_a_rollout_without_a_start_record_or_of_another():
    assert written([SILENT], EvidenceFold(POLICY, 1)) == {}
    assert written([LaneLook(lane="canary", rollout=2, unanswered=3)]) == {}
    assert written([SILENT], wanted=None) == {}


@pytest.mark.parametrize(
    ("has_committed", "counts", "is_silent"),
    [
        (False, {"predicted": 5}, False),
        (True, {"predicted": 5}, True),
        (False, {"predicted": 5, "late": 5}, True),
        (False, {"predicted": 5, "lane": "stable"}, True),
        (False, {"predicted": 5, "rollout": 2}, True),
    ],
)
def test_a_lane_that_a_system_of_another_group_scores_is_not_silent(has_committed, counts, is_silent):
    given = {"window": 0, "rollout": 1, "lane": "canary", "model_version": "x"}
    fold = a_fold(flush(0, counts=[Count(**(given | counts))]))
    look = LaneLook(lane="canary", rollout=1, unanswered=3, oldest_routed_at=1_000, has_committed=has_committed)
    assert bool(written([look], fold)) is is_silent


@pytest.mark.parametrize(
    ("members", "window", "is_silent"), [(0, 100, False), (0, 90, True), (1, 100, True), (None, 100, True)]
)
def test_a_group_that_once_read_the_lane_and_has_no_members_says_nothing_of_another_system(members, window, is_silent):
    """Looked at after 160 s, with a deadline of 60 s: what was routed from 100 s on was answered by someone else."""
    answers = Count(window=window * SECOND, rollout=1, lane="canary", model_version="x", predicted=5)
    fold = a_fold(flush(0, counts=[answers]))
    look = LaneLook(lane="canary", rollout=1, unanswered=3, oldest_routed_at=1_000, members=members)
    assert bool(SilenceRecords().due(fold, WANTED, {"canary": look}, 160 * SECOND)) is is_silent


def test_answers_of_another_system_from_before_the_oldest_request_that_waits_do_not_count():
    fold = a_fold(flush(0, counts=[Count(window=0, rollout=1, lane="canary", model_version="x", predicted=5)]))
    look = LaneLook(lane="canary", rollout=1, unanswered=3, oldest_routed_at=10 * SECOND, has_committed=False)
    assert written([look], fold)


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=60),
    st.integers(1, 60),
)
def test_a_partition_that_is_not_read_holds_nothing_that_waits_for_too_long(steps, deadline):
    """Steps: time that passes, records that come at its end, records that the group reads."""
    marks, came, position, now = EndMarks(), [], 0, 0
    for later, more, read in steps:
        now += later
        came += [now] * more
        position = min(len(came), position + read)
        may_be = marks.may_be_overdue(position, len(came), now, deadline)
        assert may_be or not any(now - at > deadline for at in came[position:])
        assert not (may_be and position == len(came))


def test_a_group_that_keeps_up_is_never_read():
    marks = EndMarks()
    assert marks.may_be_overdue(0, 5, 0, 10), "what came before the first look is not known"
    assert not any(marks.may_be_overdue(now * 5, now * 5 + 4, now, 10) for now in range(1, 100))
