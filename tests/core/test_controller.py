"""What the controller does about the evidence."""

import pytest
from support.evidence import POLICY as SIMULATED
from support.evidence import Simulation, flush, in_force, outcome

from stream_router.adapters.arrays import pack, unpack
from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.deciding.numbers import Numbers, Status
from stream_router.core.deciding.verdict import Verdict
from stream_router.core.evidence import EpochInForce, Evidence, RolloutStarted
from stream_router.core.policy import Policy
from stream_router.core.rollout.controller import Controller
from stream_router.core.rollout.rollout_event import ROLLBACK, VERDICT, RolloutEvent, rollback_event, verdict_event
from stream_router.core.routing.applied_split import AppliedSplit, Versions

POLICY = Policy()
RECORD = Evidence(by="test", written_at=0, partition=0)


def split(rollout: int, epoch: int, canary: float = 0.1) -> AppliedSplit:
    raw = f'{{"stable": {1 - canary}, "canary": {canary}}}'.encode()
    return AppliedSplit(raw=raw, canary=canary, epoch=epoch, rollout=rollout, bound=Versions("1", "2"))


def verdict(rollout: int) -> Verdict:
    numbers = Numbers(
        **dict.fromkeys(("stable_labels", "stable_bad", "canary_labels", "canary_bad", "blocks"), 1),
        **dict.fromkeys(("difference", "difference_low", "difference_high", "e_value", "threshold"), 1.0),
    )
    return Verdict(
        metric="accuracy",
        role="guardrail",
        status=Status.UNHEALTHY,
        rollout=rollout,
        epoch=1,
        digest="d",
        stable_version="1",
        canary_version="2",
        deciding_label_at=5,
        offset=7,
        numbers=numbers,
        reason="worse",
    )


class Fold(EvidenceFold):
    """Says that a rollout is unhealthy, from the first record on."""

    def __init__(self, rollout: int) -> None:
        super().__init__(POLICY, 1)
        self.rollout = rollout

    @property
    def decided(self) -> tuple[Verdict, ...]:
        return (verdict(self.rollout),) if self._offset >= 0 else ()


def controller(rollout: int, **more) -> Controller:
    return Controller(policy=POLICY, fold=Fold(rollout), position=more.pop("position", 0), **more)


def rollbacks(one: Controller) -> list[int]:
    return [event.rollout for event in one.due_writes(now=9).events]


def test_a_verdict_becomes_one_rollback_with_its_numbers():
    one = controller(3)
    one.on_split(split(3, 5))
    one.on_evidence(0, RECORD)
    (event,) = one.due_writes(now=9).events
    assert (event.kind, event.rollout, event.reason, event.decided_at) == (ROLLBACK, 3, "worse", 9)
    assert event.evidence_offset == 7
    assert one.due_writes(now=10).events == ()
    one.on_event(event)
    assert one.must_carry_out
    one.on_evidence(1, RECORD)
    assert rollbacks(one) == []


def test_a_rollback_that_a_predecessor_wrote_is_not_written_again():
    one = controller(3, position=1)
    one.on_split(split(3, 5))
    one.on_event(event_of(3))
    one.on_evidence(0, RECORD)
    one.on_evidence(1, RECORD)
    assert rollbacks(one) == []


def test_a_verdict_below_the_position_without_a_rollback_is_acted_on():
    """A predecessor of an older version passes over records that it cannot read."""
    one = controller(3, position=2)
    one.on_split(split(3, 5))
    one.on_evidence(0, RECORD)
    assert rollbacks(one) == [3]
    one.on_evidence(1, RECORD)
    assert rollbacks(one) == []


def test_a_verdict_in_a_snapshot_without_a_rollback_is_acted_on_as_of_its_record():
    fold = EvidenceFold(SIMULATED, 2)
    fell_at = [
        verdict.offset for n, r in enumerate(Simulation(seed=1).records()) for verdict in fold.on_record(n, r).verdicts
    ]
    successor = EvidenceFold.restored(SIMULATED, 2, unpack(pack(fold.snapshot())))
    one = Controller(policy=SIMULATED, fold=successor, position=1_000, next_offset=1_000)
    one.on_split(split(1, 1))
    (event,) = one.due_writes(now=9).events
    assert [event.evidence_offset] == fell_at
    assert event.numbers == fold.summary(1).verdict.numbers


def test_a_verdict_on_a_rollout_that_a_later_one_has_replaced_is_dropped():
    one = controller(3)
    one.on_split(split(4, 6))
    one.on_evidence(0, RECORD)
    assert rollbacks(one) == []


def test_where_evidence_was_lost_the_rollout_in_force_is_held_and_the_next_one_judged():
    held = controller(3, missing_before=1)
    held.on_split(split(3, 5))
    held.on_evidence(0, RECORD)
    assert rollbacks(held) == []
    assert held.is_held
    assert "held: R.evidence no longer holds the beginning of rollout 3" in held.status(9).remark
    successor = controller(3, held=held.held)
    successor.on_split(split(3, 5))
    successor.on_evidence(1, RECORD)
    assert rollbacks(successor) == []
    assert successor.status(9).remark == held.status(9).remark
    following = controller(4, held=held.held)
    following.on_split(split(4, 6))
    following.on_evidence(2, RECORD)
    assert rollbacks(following) == [4]
    assert following.status(9).remark is None


def event_of(rollout: int) -> RolloutEvent:
    return rollback_event(verdict(rollout), now=9)


def test_a_rollout_that_was_rolled_back_is_not_held_where_its_evidence_was_lost_and_shown_as_decided():
    one = Controller(policy=POLICY, fold=EvidenceFold(POLICY, 1), position=0, missing_before=1)
    one.on_split(split(3, 5))
    one.on_event(event_of(3))
    one.due_writes(now=9)
    status = one.status(9)
    assert (one.held, one.is_held, status.remark) == (0, False, None)
    assert (status.trial.verdict, status.trial.summary, status.trial.blocks) == (Status.UNHEALTHY, "worse", 1)


@pytest.mark.parametrize(("first_offset", "is_held"), [(4, True), (5, False)])
def test_a_rollout_that_began_behind_what_was_lost_is_judged(first_offset, is_held):
    one = Controller(policy=POLICY, fold=EvidenceFold(POLICY, 1), position=5, missing_before=5)
    start = RolloutStarted(rollout=3, versions=Versions("1", "2"), ripe_age=0, first_offset=first_offset, policy=POLICY)
    one.on_evidence(5, Evidence(by="a", written_at=0, rollout_started=start))
    one.on_split(split(3, 5))
    one.due_writes(now=9)
    assert one.is_held is is_held


def test_a_rollout_that_was_rolled_back_pins_no_evidence_and_wants_no_records():
    """Nor does it in a successor that begins behind its start record."""
    one = Controller(policy=POLICY, fold=EvidenceFold(POLICY, 1), position=0)
    one.on_split(split(3, 5))
    one.on_evidence(0, outcomes_of(3))
    assert one.replay_from == 0
    assert [type(record) for record in one.due_writes(now=1).controls] == [RolloutStarted, EpochInForce]
    one.on_event(event_of(3))
    one.on_evidence(1, outcomes_of(3))
    assert one.replay_from == 2
    successor = Controller(policy=POLICY, fold=EvidenceFold(POLICY, 1), position=1)
    successor.on_evidence(1, outcomes_of(3))
    successor.on_split(split(3, 5))
    successor.on_event(event_of(3))
    successor.on_evidence(2, outcomes_of(3))
    assert RolloutStarted not in map(type, successor.due_writes(now=2).controls)
    assert successor.replay_from == 3


def outcomes_of(rollout: int) -> Evidence:
    return flush(0, outcome(rollout=rollout))


def test_control_records_are_asked_for_once_and_not_where_the_evidence_has_them():
    one = Controller(policy=POLICY, fold=EvidenceFold(POLICY, 1), position=0)
    one.on_split(split(1, 1))
    one.on_split(split(1, 2, canary=0.2))
    controls = one.due_writes(now=1).controls
    assert [type(record) for record in controls] == [RolloutStarted, EpochInForce, EpochInForce]
    assert [record.epoch for record in controls[1:]] == [1, 2]
    assert one.due_writes(now=2).controls == ()
    successor = Controller(policy=POLICY, fold=EvidenceFold(POLICY, 1), position=2)
    successor.on_evidence(0, Evidence(by="a", written_at=0, rollout_started=controls[0]))
    successor.on_evidence(1, Evidence(by="a", written_at=0, epoch_in_force=controls[1]))
    successor.on_split(split(1, 1))
    successor.on_split(split(1, 2, canary=0.2))
    assert successor.due_writes(now=3).controls == (controls[2],)


@pytest.mark.parametrize(
    ("canary", "rolled_back", "phase"), [(0.1, False, "Manual"), (0.0, False, "Idle"), (0.0, True, "RolledBack")]
)
def test_the_phase_follows_from_the_split_and_the_latch(canary, rolled_back, phase):
    one = controller(3)
    one.on_split(split(3, 5, canary=canary))
    if rolled_back:
        one.on_event(
            RolloutEvent(kind=ROLLBACK, rollout=3, epoch=5, digest="", verdict="unhealthy", reason="", decided_at=0)
        )
    assert one.status(9).phase == phase


def judged(records, *, position=0, known=()):
    """A controller that has read these records from the first on, and the events that were written before."""
    one = Controller(policy=SIMULATED, fold=EvidenceFold(SIMULATED, 2), position=position)
    one.on_split(split(1, 1))
    for event in known:
        one.on_event(event)
    for offset, record in enumerate(records):
        one.on_evidence(offset, record)
    return one


def test_each_verdict_is_written_once_as_of_its_record_whoever_is_the_controller():
    """Also where a predecessor wrote it, and where the records come in one turn or in many."""
    records = Simulation(seed=1).records()
    one = judged(records)
    (told,) = one.due_writes(now=9).verdicts
    assert (told.kind, told.metric, told.role, told.verdict) == (VERDICT, "accuracy", "guardrail", "unhealthy")
    assert (told.policy_digest, told.stable_version, told.canary_version) == (SIMULATED.digest, "v1", "v2")
    assert one.due_writes(now=10).verdicts == ()
    assert judged(records, known=[told]).due_writes(now=9).verdicts == ()
    assert judged(records, position=len(records), known=[told]).due_writes(now=9).verdicts == ()
    turns = Controller(policy=SIMULATED, fold=EvidenceFold(SIMULATED, 2), position=0)
    turns.on_split(split(1, 1))
    written = []
    for offset, record in enumerate(records):
        turns.on_evidence(offset, record)
        written += turns.due_writes(now=9).verdicts
        turns.position = turns.next_offset
    assert written == [told]


def test_a_verdict_that_a_predecessor_did_not_write_is_written_by_its_successor():
    records = Simulation(seed=1).records()
    assert len(judged(records, position=len(records)).due_writes(now=9).verdicts) == 1


def test_a_verdict_is_written_although_a_later_rollout_came_into_force_in_the_same_turn():
    records = [*Simulation(seed=1).records(), in_force(epoch=9, rollout=2)]
    assert len(judged(records).due_writes(now=9).verdicts) == 1
    assert judged(records, position=len(records)).due_writes(now=9).events == ()


def test_the_record_of_a_verdict_is_no_rollback():
    one = controller(3)
    one.on_split(split(3, 5))
    one.on_event(verdict_event(verdict(3), now=9))
    assert one.status(9).phase == "Manual"
    assert not one.must_carry_out
    assert one.view.latch is None
