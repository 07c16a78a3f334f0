"""What the leader of a rollout makes of what the controller knows."""

from dataclasses import replace

import pytest
from support.evidence import POLICY as SHORT
from support.evidence import SECOND, VERSIONS, flush, in_force, started

from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.evidence import Count
from stream_router.core.policy import Step
from stream_router.core.rollout.controller import Controller
from stream_router.core.rollout.leader import Leader, Seen
from stream_router.core.rollout.log_records import Transition
from stream_router.core.rollout.machine import Write
from stream_router.core.rollout.machine_inputs import ScoringJob
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.proposal import Step as Ask
from stream_router.core.routing.router_status import RouterStatus

POLICY = replace(
    SHORT, label_horizon=50 * SECOND, steps=(Step(weight=0.1, min_labels=40), Step(weight=0.5, min_labels=40))
)
SINCE, NOW = 40 * SECOND, 200 * SECOND
"""Windows are 10 s long; at NOW those that had ended by 150 s are mature."""

ASKED = Ask(on=1, canary=0.1, rollout=1)
SPLIT = AppliedSplit(raw=ASKED.raw, canary=0.1, epoch=2, rollout=1, bound=VERSIONS, time=SINCE)
JOB = ScoringJob(instance="a", lane="canary", version=VERSIONS.canary, state="serving", seen=NOW)
STEP_1 = Transition(
    rollout=1,
    before="Starting",
    after="Progressing",
    step=1,
    canary_before=0.0,
    canary=0.1,
    cause="step",
    reason="step 1",
    epoch=1,
    at=SINCE,
    asks=ASKED,
    policy=POLICY,
)


def count(window: int, lane: str = "canary", version: str = VERSIONS.canary, rollout: int = 1) -> Count:
    return Count(window=window, rollout=rollout, lane=lane, model_version=version, predicted=10, labelled=10, correct=9)


def world(*counts: Count, watermark: int = NOW, partitions: int = 1) -> tuple[Controller, Leader]:
    fold = EvidenceFold(POLICY, partitions)
    for offset, record in enumerate([started(policy=POLICY), in_force(), flush(0, counts=counts, watermark=watermark)]):
        fold.on_record(offset, record)
    controller, leader = Controller(policy=POLICY, fold=fold, position=3), Leader(policy=POLICY)
    controller.on_split(SPLIT)
    leader.on_split(SPLIT)
    leader.on_record(0, STEP_1)
    leader.state = replace(leader.state, version=VERSIONS.canary)
    return controller, leader


def next_of(controller: Controller, leader: Leader, **seen) -> object:
    return leader.next(controller, (), Seen(**{"applied": SPLIT, "jobs": (JOB,)} | seen), NOW)


def labels_waited_for(*counts: Count, **changes) -> str:
    controller, leader = world(*counts, **changes)
    next_of(controller, leader)
    (sentence,) = [one for one in leader.waits if "mature labels" in one]
    return sentence


def test_labels_of_a_step_are_those_of_canary_in_windows_that_began_in_it_and_are_mature():
    mature = [count(window) for window in (40 * SECOND, 50 * SECOND, 140 * SECOND)]
    others = [
        count(30 * SECOND),
        count(150 * SECOND),
        count(60 * SECOND, "stable", VERSIONS.stable),
        count(60 * SECOND, version="another"),
        count(60 * SECOND, rollout=2),
    ]
    assert labels_waited_for(*mature, *others).startswith("30 of 40 mature labels")


def test_nothing_is_mature_before_every_partition_has_told():
    assert labels_waited_for(count(40 * SECOND), partitions=2).startswith("0 of 40")


def test_with_enough_labels_the_next_step_is_written_and_nothing_more_until_it_is_read_back():
    controller, leader = world(*(count(window * SECOND) for window in (40, 50, 60, 70)))
    step = next_of(controller, leader)
    assert isinstance(step, Write)
    assert (step.record.after, step.record.step, step.record.canary) == ("Progressing", 2, 0.5)
    leader.on_written()
    assert next_of(controller, leader) is None
    leader.on_record(1, step.record)
    assert next_of(controller, leader) is not None


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_router_that_routes_by_another_split_holds_the_step(epoch):
    controller, leader = world(*(count(window * SECOND) for window in (40, 50, 60, 70)))
    router = RouterStatus(instance="r", epoch=epoch, digest=SPLIT.digest, seen=NOW)
    assert next_of(controller, leader, routers=(router,)) is None
    assert "a router does not route by the split in force yet" in leader.waits
    assert next_of(controller, leader, routers=(replace(router, epoch=2),)) is not None
