"""Which split was in force when, from the records of R.splits."""

from itertools import pairwise

import numpy as np
from support.join_worlds import BEGIN, SPLITS, UNKNOWN, WRITTEN_AFTER, history, split

from stream_router.core.joining.split_history import SplitHistory

LAST = SPLITS[-1]


def test_before_the_first_split_there_is_none_and_each_is_in_force_from_its_time_on() -> None:
    known = history()
    assert known.in_force_at(SPLITS[0].time - 1) is None
    for one, later in pairwise(SPLITS):
        assert known.in_force_at(one.time) == known.in_force_at(later.time - 1) == one
    assert known.in_force_at(BEGIN * 1000) == LAST


def test_for_a_record_only_splits_count_that_are_not_written_after_it() -> None:
    """So that who reads R.splits again, when it has more, says the same."""
    first, second = SPLITS[1:3]
    known = history()
    for written, expected in ((second.time + WRITTEN_AFTER - 1, first), (second.time + WRITTEN_AFTER, second)):
        assert known.in_force_at(second.time + 1, written) == expected
    assert history(SPLITS[:2]).in_force_at(second.time + 1, second.time + 2) == first
    assert known.in_force_at(SPLITS[0].time, SPLITS[0].time) is None


def test_a_record_s_time_before_its_predecessor_s_counts_as_that_one_s() -> None:
    known = SplitHistory()
    known.add(SPLITS[0], written=1_000)
    known.add(SPLITS[1], written=900)
    assert known.in_force_at(BEGIN * 1000, 999) is None
    assert known.in_force_at(BEGIN * 1000, 1_000) == SPLITS[1]


def test_many_times_at_once_are_as_one_by_one() -> None:
    known, times = history(), np.arange(BEGIN, BEGIN + 300_000, 777)
    for later in (0, 2_000, 5_000):
        numbers = known.numbers_at(times, times + later)
        expected = [known.in_force_at(time, time + later) for time in times.tolist()]
        assert [None if n < 0 else known[n] for n in numbers] == expected


def test_a_split_that_a_router_writes_again_or_too_late_is_known_and_changes_nothing_in_force() -> None:
    late = split(2, 0.3, 1, LAST.time + 1)
    known = history([*SPLITS, SPLITS[1], late, LAST])
    assert known.in_force_at(LAST.time + 2) == LAST
    assert known.in_force_at(SPLITS[1].time) == SPLITS[1]
    assert known.canary_share(2, late.digest) == 0.3


def test_of_two_splits_of_one_epoch_the_later_record_is_in_force() -> None:
    other = split(4, 0.3, 2, LAST.time)
    assert history([*SPLITS, other]).in_force_at(LAST.time) == other


def test_a_clock_behind_does_not_put_a_split_in_force_before_its_predecessor() -> None:
    behind = split(5, 0.1, 3, LAST.time - 40_000)
    known = history([*SPLITS, behind])
    assert known.in_force_at(LAST.time - 1) == SPLITS[2]
    assert known.in_force_at(LAST.time) == behind


def test_shares_are_of_what_was_added() -> None:
    known = history()
    assert known.canary_share(2, SPLITS[1].digest) == 0.02
    assert known.canary_share(UNKNOWN.epoch, UNKNOWN.digest) is None
    assert known.knows(4, LAST.digest)
    assert not known.knows(4, SPLITS[0].digest + "x")
