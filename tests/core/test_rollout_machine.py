"""A rollout's way through its phases, verb by verb and step by step, on the fake of the Redis contract."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.rollout_world import HOLD_MS, LABELS, RolloutWorld
from support.split_benches import FakeBench
from support.split_world import document

from stream_router.core.deciding.numbers import Status
from stream_router.core.policy import Policy, Step
from stream_router.core.rollout.conditions import waits_for
from stream_router.core.rollout.log_records import Refusal, Transition
from stream_router.core.rollout.machine import law_of
from stream_router.core.rollout.rollout_event import RolloutEvent
from stream_router.core.rollout.rollout_state import InForce, RolloutState
from stream_router.core.rollout.verbs import rollback_by_hand, step_at
from stream_router.core.route import Route
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.split import ALL_STABLE_RAW
from stream_router.testing.rules import Keys

TWO_STEPS = Policy(steps=(Step(weight=0.1, min_labels=10), Step(weight=0.5, hold_for=5_000)), promotion_deadline=9_000)


@pytest.fixture
def world():
    return RolloutWorld(FakeBench(Route("flights")))


def start(world, policy=TWO_STEPS, version="v1", number=0):
    command = world.command("start", number, version=version, seen=world.folded().newest)
    world.log[-1] = replace(command, policy=policy)
    world.work(2)


def at_step(world, policy=TWO_STEPS, **start_of):
    """A rollout at its first step, with a job of canary that serves the version."""
    start(world, policy, **start_of)
    for number in (0, 1):
        world.job_follows("canary", number)
    world.work(2)
    return world


def phase(world):
    return world.folded().phase


def weight(world):
    return world.bench.store.applied().canary


def told(world):
    """The newest transition, rollback or refusal, in words."""
    return next(one.reason for one in reversed(world.log) if isinstance(one, (Transition, Refusal, RolloutEvent)))


def command(world, verb, number=1, **changes):
    world.command(verb, number, **changes)
    world.work(2)
    return told(world)


def shown(world):
    inputs = world.inputs(world.leader)
    return waits_for(world.folded(), law_of(world.folded(), inputs), world.now, inputs)


def test_a_start_gives_no_requests_before_a_job_serves_the_version(world):
    start(world)
    world.work(5)
    assert (phase(world), weight(world), world.bench.store.models().canary) == ("Starting", 0.0, "v1")
    assert shown(world) == ("no scoring job of canary serves version v1 yet (none lives)",)
    world.job_follows("canary", 0)
    world.work(2)
    assert (phase(world), weight(world)) == ("Progressing", 0.1)


def test_a_step_is_left_when_all_its_conditions_hold_and_nothing_holds_it(world):
    at_step(world)
    world.labels = 9
    world.work(3)
    assert shown(world) == ("9 of 10 mature labels of canary at 10 %",)
    world.labels, world.held_by = 10, ("labels have stopped",)
    world.work(3)
    assert (weight(world), shown(world)) == (0.1, ("labels have stopped",))
    world.held_by = ()
    world.work(2)
    assert weight(world) == 0.5


def test_a_weight_is_held_from_when_it_came_into_force(world):
    at_step(world)
    world.labels, world.status = LABELS, Status.HEALTHY
    world.work(2)
    came = world.folded().in_force.since
    while phase(world) == "Progressing":
        assert world.now < came + 5_000 + 3 * HOLD_MS
        world.work()
    assert world.folded().at >= came + 5_000


def test_the_last_step_needs_every_guardrail_healthy(world):
    at_step(world)
    world.labels = LABELS
    world.work(20)
    assert (phase(world), shown(world)) == ("Progressing", ("accuracy is inconclusive",))
    world.status = Status.HEALTHY
    world.work(2)
    assert phase(world) == "Promoting"


def promoting(world):
    at_step(world)
    world.labels, world.status = LABELS, Status.HEALTHY
    world.work(20)
    return world


def test_a_promotion_exchanges_the_models_first_and_the_split_when_all_jobs_serve(world):
    """In the contract's order: no request meets a model that its lane was not meant to have."""
    promoting(world)
    models = world.bench.store.models()
    assert (models.stable, models.previous, models.promoted, weight(world)) == ("v1", "s0", 1, 0.5)
    world.job_follows("stable", 0)
    world.work(12)
    lagging = "scoring job stable-1 of stable does not serve version v1 yet, although it has had 9 s"
    assert (phase(world), weight(world), shown(world)) == ("Promoting", 0.5, (lagging,))
    world.job_follows("stable", 1)
    world.work(4)
    assert (phase(world), weight(world)) == ("Promoted", 0.0)
    assert told(world) == "all requests are stable's, with version v1; undo gives s0 back"


def promoted(world):
    promoting(world)
    for number in (0, 1):
        world.job_follows("stable", number)
    world.work(6)
    assert phase(world) == "Promoted"
    return world


def test_late_labels_roll_a_promotion_back(world):
    promoted(world)
    world.verdict()
    world.work(3)
    assert (phase(world), world.bench.store.models().stable, weight(world)) == ("RolledBack", "s0", 0.0)


def test_undo_gives_the_previous_version_back_without_a_controller(world):
    promoted(world)
    assert world.by_hand("undo")
    assert phase(world) == "RolledBack"
    for router in world.routers:
        router.follow()
        router.look()
        router.call()
    assert world.bench.store.models().stable == "s0"
    assert told(world) == "undo by ada: odd"


@pytest.mark.parametrize("of", ["Starting", "Progressing", "Paused", "Promoting", "Manual"])
def test_abort_ends_whatever_gives_canary_requests_and_a_new_start_is_another_rollout(world, of):
    if of == "Manual":
        world.edit(document(1, 0.3))
        world.settle(2)
    elif of == "Promoting":
        promoting(world)
    else:
        start(world) if of == "Starting" else at_step(world)
        if of == "Paused":
            command(world, "pause", 5)
    assert phase(world) == of
    assert world.by_hand("abort")
    world.work(3)
    assert (phase(world), weight(world), world.bench.store.models().stable) == ("Aborted", 0.0, "s0")
    at_step(world, version="v2", number=9)
    assert (phase(world), world.folded().rollout, weight(world)) == ("Progressing", 2, 0.1)


def test_an_operators_set_is_obeyed_and_pauses_and_resume_goes_on_from_there(world):
    at_step(world)
    world.edit(document(1, 0.3))
    world.settle(2)
    assert (phase(world), weight(world)) == ("Paused", 0.3)
    assert told(world) == "an operator set canary to 30 %: resume goes on from there"
    world.labels = LABELS
    command(world, "resume")
    world.work(3)
    assert weight(world) == 0.5


def test_the_same_share_in_other_bytes_is_an_operators_set_too(world):
    at_step(world)
    world.edit(("string", b'{"stable": 0.90, "canary": 0.10}'))
    world.settle(2)
    assert phase(world) == "Paused"


def test_all_requests_for_canary_are_obeyed_and_said_loudly(world):
    at_step(world)
    world.edit(document(1, 1.0))
    world.settle(2)
    assert (phase(world), weight(world)) == ("Paused", 1.0)
    assert told(world).startswith("AN OPERATOR GAVE ALL REQUESTS TO CANARY")
    assert "SET a share for stable first" in command(world, "resume")


def test_another_version_by_hand_is_another_rollout_which_nobody_leads(world):
    at_step(world)
    world.register("canary", "v9")
    world.settle(2)
    assert (phase(world), world.folded().rollout, weight(world)) == ("Manual", 2, 0.1)


def test_an_operators_set_in_a_promotion_pauses_it_and_promote_ends_it(world):
    promoting(world)
    world.edit(document(1, 0.3))
    world.settle(2)
    assert (phase(world), weight(world)) == ("Paused", 0.3)
    for number in (0, 1):
        world.job_follows("stable", number)
    command(world, "promote")
    world.work(4)
    models = world.bench.store.models()
    assert (phase(world), models.stable, models.previous) == ("Promoted", "v1", "s0")


def test_a_version_that_fails_to_load_pauses_and_never_gets_requests(world):
    start(world)
    world.failing.add("v1")
    world.job_follows("canary", 0)
    world.work(3)
    assert (phase(world), weight(world)) == ("Paused", 0.0)
    assert told(world).startswith("scoring job canary-0 cannot serve version v1")
    world.failing.clear()
    command(world, "resume")
    world.work(2)
    assert (phase(world), weight(world)) == ("Progressing", 0.1)


@pytest.mark.parametrize("verb", ["approve", "resume"])
def test_a_step_that_pauses_waits_for_a_person(world, verb):
    at_step(world, Policy(steps=(Step(weight=0.1, pause=True), Step(weight=0.5))))
    assert phase(world) == "Progressing"  # its other conditions come first
    world.labels = LABELS
    world.work(5)
    assert (phase(world), weight(world)) == ("Paused", 0.1)
    command(world, verb)
    world.work(2)
    assert (phase(world), weight(world)) == ("Progressing", 0.5)


def test_a_step_until_approved_progresses_until_then(world):
    at_step(world, Policy(steps=(Step(weight=0.1, until="approved"), Step(weight=0.5))))
    world.labels = LABELS
    world.work(5)
    assert (phase(world), shown(world)) == ("Progressing", ("step 1 waits for a person's approval",))
    command(world, "approve")
    world.work(2)
    assert weight(world) == 0.5
    assert "it opens a step that waits for a person" in command(world, "approve", 2)


@pytest.mark.parametrize(("way", "left"), [("stable", 0.0), ("pause", 0.1)])
@pytest.mark.parametrize("limit", ["labels", "time"])
def test_without_a_verdict_a_person_is_asked_once(world, way, left, limit):
    steps = (Step(weight=0.1, until="healthy"), Step(weight=0.5))
    at_step(world, Policy(steps=steps, on_inconclusive=way, max_duration=20_000 if limit == "time" else None))
    if limit == "labels":
        world.max_labels_reached = True
    world.work(22)
    assert (phase(world), weight(world)) == ("Paused", left)
    assert "no verdict within" in told(world)
    command(world, "resume")
    world.work(30)
    assert (phase(world), weight(world)) == ("Progressing", 0.1)


def test_promote_waits_for_health_unless_it_is_full_and_never_overrules_unhealthy(world):
    at_step(world)
    world.held_by = ("labels have stopped",)
    said = command(world, "promote")
    assert said.startswith("promote: accuracy is inconclusive; labels have stopped: wait for it, or promote in spite")
    world.status = Status.UNHEALTHY
    assert "which no command overrules" in command(world, "promote", 2, full=True)
    world.status = Status.INCONCLUSIVE
    assert "in spite of what is not shown" in command(world, "promote", 3, full=True)
    assert phase(world) == "Promoting"


def test_an_unhealthy_guardrail_stops_every_step_forward(world):
    at_step(world)
    world.labels, world.status = LABELS, Status.UNHEALTHY
    world.work(5)
    assert weight(world) == 0.1


def test_no_judged_guardrail_is_no_healthy_canary(world):
    at_step(world)
    empty = replace(world.inputs(world.leader), judged=())
    assert list(empty.unproven()) == ["no guardrail is judged, so that nothing shows canary to be healthy"]


PHASES = {
    "Idle": lambda world: world.settle(1),
    "Starting": start,
    "Progressing": at_step,
    "Paused": lambda world: command(at_step(world), "pause", 90),
    "Promoting": promoting,
    "Promoted": promoted,
    "Aborted": lambda world: (at_step(world), world.by_hand("abort"), world.work(3)),
    "RolledBack": lambda world: (at_step(world), world.verdict(), world.work(3)),
    "Manual": lambda world: (world.edit(document(1, 0.3)), world.settle(2)),
}
FROM = {
    "start": {"Idle", "Promoted", "RolledBack", "Aborted"},
    "pause": {"Progressing"},
    "resume": {"Paused"},
    "approve": set(),
    "promote": {"Progressing", "Paused"},
}
"""Where each verb is obeyed, when no step waits for a person; `start` also from Manual with canary at 0."""


@pytest.mark.parametrize("before", PHASES)
@pytest.mark.parametrize("verb", FROM)
def test_a_verb_is_obeyed_from_its_phases_and_else_refused_in_words(world, before, verb):
    PHASES[before](world)
    assert phase(world) == before
    world.status = Status.HEALTHY
    world.command(verb, 1, version="v2")
    world.leader.decide()
    world.leader.do()
    answer = world.log[-1]
    assert isinstance(answer, Transition if before in FROM[verb] else Refusal), answer
    assert answer.command == "command 1"
    if isinstance(answer, Refusal):
        assert answer.reason.startswith(f"{verb}: ")
        assert len(answer.reason) > 30


def test_a_start_is_obeyed_from_an_operators_split_with_canary_at_0(world):
    PHASES["Manual"](world)
    world.edit(("string", ALL_STABLE_RAW))
    for router in world.routers:
        router.look()
        router.call()
    at_step(world)
    assert (phase(world), world.folded().rollout) == ("Progressing", 2)


def test_of_two_terminals_the_second_is_told_what_happened_meanwhile(world):
    at_step(world)
    seen = world.folded().newest
    world.command("pause", 1, seen=seen)
    world.command("promote", 2, seen=seen, full=True)
    world.work(3)
    assert phase(world) == "Paused"
    assert "what has happened meanwhile: pause by ada: canary stays at 10 %" in told(world)


def test_a_command_that_nobody_took_is_refused_as_expired(world):
    at_step(world)
    world.command("pause", 1)
    world.now += 31_000
    world.work(2)
    assert (phase(world), "expired" in told(world)) == ("Progressing", True)


def test_a_command_is_carried_out_once_although_it_stands_in_the_log_twice(world):
    at_step(world)
    command(world, "pause", 1)
    command(world, "resume", 2)
    world.command("pause", 1)
    world.work(3)
    assert phase(world) == "Progressing"


def test_nothing_is_done_on_a_view_that_lacks_the_newest_split(world):
    """While Redis is away and no router has written what is in force, a successor waits."""
    at_step(world)
    world.splits.clear()
    world.elect(1)
    world.away = True
    before = list(world.log)
    world.labels, world.status = LABELS, Status.HEALTHY
    for _ in range(3):
        world.leader.decide()
        world.leader.do()
    assert world.log == before


def test_a_redis_that_forgot_everything_is_reminded_and_the_rollout_goes_on(world):
    at_step(world)
    world.labels = LABELS
    world.leader.decide()
    world.leader.do()  # the record of step 2; the script has not been called yet
    world.forget(Keys())
    world.work(5)
    assert (phase(world), weight(world)) == ("Progressing", 0.5)
    assert any("is asked anew" in one.reason for one in world.log if isinstance(one, Transition))


def test_nothing_is_rolled_back_by_hand_where_nothing_runs():
    idle = RolloutState()
    assert "no rollout runs" in rollback_by_hand("abort", idle, "ada", "", 0)
    assert "no promotion to undo" in rollback_by_hand("undo", idle, "ada", "", 0)
    assert "undo gives the previous" in rollback_by_hand(
        "abort", replace(idle, phase="Promoted", rollout=1), "a", "", 0
    )


@given(st.lists(st.integers(0, 4), max_size=8))
def test_a_split_in_force_is_the_newest_however_often_its_record_is_read(order):
    splits = [AppliedSplit(epoch=epoch, rollout=1, canary=0.1 * epoch, time=epoch) for epoch in range(5)]
    law = InForce()
    for index in order:
        law = law.then(splits[index])
    assert law.applied.epoch == max(order, default=0)
    assert (law.origin, law.since) == (law.applied.epoch, law.applied.time)


def test_a_split_put_in_force_anew_keeps_when_it_began():
    first = AppliedSplit(epoch=3, rollout=1, canary=0.1, time=7, why="step of rollout 1")
    again = replace(first, epoch=5, time=9, why="remembered: Redis had forgotten epoch 3")
    law = InForce().then(first).then(again)
    assert (law.applied.epoch, law.origin, law.since) == (5, 3, 7)
    assert law.then(AppliedSplit(epoch=9, registered=False)) == law


@pytest.mark.parametrize(("share", "step"), [(0.05, 0), (0.1, 1), (0.3, 1), (0.5, 2), (0.9, 2)])
def test_a_rollout_resumes_at_the_last_step_that_is_not_above_its_weight(share, step):
    assert step_at(TWO_STEPS, share) == step
