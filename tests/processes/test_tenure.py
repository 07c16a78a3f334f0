"""When an owner has to write, told from what its join holds and from what it wrote before."""

import math
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from stream_router.adapters.kafka.evidence_log import ResumePoint
from stream_router.core.evidence import ACCURACY, MAX_OUTCOMES, Positions
from stream_router.core.joining.flush_schedule import (
    COUNTS_WAIT,
    OUTCOMES_WAIT,
    RIPENING_LOOKED_AT,
    WATERMARK_EVERY,
    WATERMARK_FOR_OUTCOMES,
)
from stream_router.core.joining.join import Pending
from stream_router.core.joining.split_history import SplitHistory
from stream_router.core.policy import Policy
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.processes.tenure import Tenure

POLICY = Policy(window=10_000, label_horizon=100_000, prediction_deadline=5_000)
SPLIT = AppliedSplit(raw=b"split", canary=0.1, epoch=1, rollout=1)
THINNED = AppliedSplit(raw=b"thinned", canary=0.01, epoch=2, rollout=1)
KEY = Pending(SPLIT.epoch, SPLIT.digest, SPLIT.rollout, ACCURACY)


def tenure(watermark=0, newest_outcome=0, policy=POLICY):
    resume = ResumePoint(Positions(0, 0), Positions(0, 0), watermark, newest_outcome)
    found = Tenure(policy, resume, SimpleNamespace(pending=Counter()), begin=Positions(0, 0), since=0, now=0.0)
    found.seek, found.is_joining = 1, True
    return found


def read(found, pending, records=10, partitions=8):
    splits = SplitHistory()
    splits.add(SPLIT)
    splits.add(THINNED)
    found.schedule.on_outcomes(50.0, is_full=False)
    found.schedule.on_flush(50.0, with_watermark=False)  # other outcomes, a moment ago
    found.join.pending.update(pending)
    found.on_read(Positions(records, 0), records=records, partitions=partitions, splits=splits, now=50.0)
    return found.due_at()


def test_counts_wait_a_second_and_outcomes_a_quarter_after_others():
    assert read(tenure(), {}) == 50.0 + COUNTS_WAIT
    assert read(tenure(), {KEY: 1}) == 50.0 + OUTCOMES_WAIT


@pytest.mark.parametrize(
    ("pending", "partitions", "at_once"), [(12, 8, False), (13, 8, True), (99, 1, False), (100, 1, True)]
)
def test_a_partition_s_part_of_a_full_block_is_written_at_once(pending, partitions, at_once):
    """A share of 0.1 fills a block with 100 outcomes."""
    due = read(tenure(), {KEY: pending}, partitions=partitions)
    assert due == (-math.inf if at_once else 50.0 + OUTCOMES_WAIT)


@pytest.mark.parametrize(("pending", "at_once"), [(26, False), (27, True)])
def test_where_stable_is_thinned_the_block_is_full_with_what_enters(pending, at_once):
    """With 210 outcomes, 20 of stable for one of canary, instead of 1,000 of which one in a hundred is canary's."""
    due = read(tenure(), {KEY._replace(epoch=2, digest=THINNED.digest): pending})
    assert due == (-math.inf if at_once else 50.0 + OUTCOMES_WAIT)


def test_outcomes_of_different_splits_fill_no_block_together_but_a_record():
    other = KEY._replace(epoch=2)
    assert read(tenure(), {KEY: 12, other: 12}) == 50.0 + OUTCOMES_WAIT
    assert read(tenure(), {other: MAX_OUTCOMES}) == -math.inf


def test_positions_moved_by_markers_alone_wait_as_long_as_a_watermark():
    assert read(tenure(), {}, records=0) == 50.0 + WATERMARK_EVERY


@pytest.mark.parametrize(
    ("horizon", "looked_at"), [(POLICY.label_horizon, POLICY.label_horizon), (86_400_000, RIPENING_LOOKED_AT)]
)
@pytest.mark.parametrize(("short_of", "every"), [(1, WATERMARK_FOR_OUTCOMES), (0, WATERMARK_EVERY)])
def test_watermarks_come_more_often_while_an_outcome_may_ripen_soon_also_a_predecessor_s(
    horizon, looked_at, short_of, every
):
    """Not for a whole horizon of a day: a transaction a second in each idle partition."""
    watermark = 1_000_000 + POLICY.window + looked_at - short_of
    found = tenure(watermark, newest_outcome=1_000_000, policy=replace(POLICY, label_horizon=horizon))
    found.schedule.on_watermark()
    found.schedule.on_flush(50.0, with_watermark=True)
    found.offer(watermark + 1, {})
    found.reach({})
    assert found.due_at() == 50.0 + every


def test_nothing_is_due_before_the_rows_are_rebuilt():
    found = tenure()
    found.resume = found.resume._replace(positions=Positions(20, 0))
    assert read(found, {KEY: 1_000}) == math.inf
