"""What a join says of outcomes to come, and of those that will not."""

import numpy as np

from stream_router.core.evidence import ACCURACY, Positions
from stream_router.core.joining.columns import Labels, Origin, Predictions
from stream_router.core.joining.join import Join, Pending
from stream_router.core.joining.split_history import SplitHistory
from stream_router.core.policy import Policy
from stream_router.core.routing.applied_split import AppliedSplit

NOW, COUNT = 1_000_000, 400
POLICY = Policy(window=10_000, label_horizon=100_000, prediction_deadline=5_000)
SPLIT = AppliedSplit(raw=b"split", canary=0.01, epoch=3, rollout=2)


def joined(lane, scored_at):
    splits = SplitHistory()
    splits.add(SPLIT)
    join = Join(POLICY, Positions(0, 0), splits)
    ids, at, zeros = [f"{lane}{n}" for n in range(COUNT)], np.full(COUNT, NOW), np.zeros(COUNT, np.int64)
    join.on_predictions(
        Predictions(
            offset=np.arange(COUNT),
            time=at,
            request_id=ids,
            entity=[None] * COUNT,
            origin=[Origin(SPLIT.epoch, SPLIT.digest, SPLIT.rollout, lane, "v")] * COUNT,
            routed_at=at,
            requested_at=at,
            scored_at=np.full(COUNT, scored_at),
            batch_index=zeros,
            batch_size=zeros,
            model_seconds=np.zeros(COUNT),
            value=[True] * COUNT,
            is_error=np.zeros(COUNT, np.bool_),
        )
    )
    join.on_labels(Labels(offset=np.arange(COUNT), time=at + 10_000, request_id=ids, value=[True] * COUNT))
    return join


def test_pending_are_as_many_as_the_next_take_gives():
    join = joined("canary", NOW)
    assert join.pending == {Pending(SPLIT.epoch, SPLIT.digest, SPLIT.rollout, ACCURACY): COUNT}
    assert sum(len(outcomes) for outcomes in join.take().outcomes if outcomes.key.metric == ACCURACY) == COUNT
    assert not join.pending
    assert not +join.left_out


def test_what_is_thinned_or_late_is_counted():
    stable = joined("stable", NOW)
    given = stable.pending.total()
    assert 0 < given < COUNT / 2
    assert +stable.left_out == {"thinned": COUNT - given}
    late = joined("canary", NOW + POLICY.prediction_deadline + 1)
    assert not late.pending
    assert +late.left_out == {"late": COUNT}
