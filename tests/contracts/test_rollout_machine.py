"""Random histories of persons, operators, jobs, controllers that die or stall, and a forgetful Redis break no law."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from support.rollout_faults import FAULTS, Fault
from support.rollout_histories import random_rollout
from support.rollout_world import HOLD_MS, LABELS, RolloutWorld
from support.split_benches import Bench, FakeBench, ValkeyBench
from support.split_world import document

from stream_router.core.deciding.numbers import Status
from stream_router.core.route import Route

SEEDS = range(300)
"""Histories in which every planted fault must show up at least once."""

two = st.integers(0, 1)
versions = st.sampled_from(["v1", "v2", "v3"])


class RolloutMachine(RuleBasedStateMachine):
    """Chooses the acts of a RolloutWorld; `new_bench` is set for each kind of server."""

    new_bench: Callable[[], Bench]

    def __init__(self) -> None:
        super().__init__()
        self.world = RolloutWorld(type(self).new_bench())
        self.snapshots: list[object] = [None]
        self.number = 0

    @rule(
        verb=st.sampled_from(["start", "pause", "resume", "approve", "promote"]),
        version=versions,
        policy=st.integers(0, 2),
        full=st.booleans(),
        stale=st.booleans(),
        again=st.booleans(),
    )
    def person_commands(self, verb, version, policy, full, stale, again) -> None:
        self.number += not again
        changes = {"seen": -1} if stale else {}
        self.world.command(verb, self.number, version=version, policy=policy, full=full, **changes)

    @rule(act=st.sampled_from(["abort", "undo"]))
    def person_rolls_back(self, act) -> None:
        self.world.by_hand(act)

    @precondition(lambda self: not self.world.away)
    @rule(number=st.integers(0, 3), canary=st.sampled_from([0.0, 0.1, 0.3, 1.0, None]))
    def operator_edits(self, number, canary) -> None:
        self.world.edit(document(number, canary))

    @precondition(lambda self: not self.world.away and self.world.latch)
    @rule()
    def operator_releases(self) -> None:
        self.world.bench.store.release(self.world.latch)

    @precondition(lambda self: not self.world.away)
    @rule(lane=st.sampled_from(["stable", "canary"]), version=versions)
    def operator_registers(self, lane, version) -> None:
        self.world.register(lane, version)

    @rule(status=st.sampled_from(list(Status)), held=st.booleans(), obeys=st.booleans(), used_up=st.booleans())
    def evidence_comes(self, status, held, obeys, used_up) -> None:
        world = self.world
        world.status, world.labels, world.obeys, world.max_labels_reached = status, LABELS, obeys, used_up
        world.held_by = ("no labels",) if held else ()

    @precondition(lambda self: self.world.status is Status.UNHEALTHY)
    @rule()
    def controller_rolls_back(self) -> None:
        self.world.verdict()

    @precondition(lambda self: not self.world.away)
    @rule(lane=st.sampled_from(["stable", "canary"]), number=two)
    def job_follows(self, lane, number) -> None:
        self.world.job_follows(lane, number)

    @rule(lane=st.sampled_from(["stable", "canary"]), number=two)
    def job_dies(self, lane, number) -> None:
        self.world.dead.add((lane, number))

    @rule(version=versions)
    def version_fails_or_is_mended(self, version) -> None:
        self.world.failing ^= {version}

    @rule(passed=st.sampled_from([1, HOLD_MS]), splits_first=st.booleans())
    def leader_works(self, passed, splits_first) -> None:
        self.world.now += passed
        self.world.leader.decide(splits_first=splits_first)
        self.world.leader.do()

    @rule(number=two, splits_first=st.booleans())
    def controller_decides_and_stalls(self, number, splits_first) -> None:
        if self.world.controllers[number].act is None:
            self.world.controllers[number].decide(splits_first=splits_first)

    @rule(number=two)
    def controller_does_what_it_decided(self, number) -> None:
        self.world.controllers[number].do()

    @rule(number=two)
    def controller_dies(self, number) -> None:
        self.world.replace_controller(self.world.controllers[number])

    @rule(number=two)
    def controller_is_elected(self, number) -> None:
        self.world.elect(number)

    @rule(number=two)
    def router_works(self, number) -> None:
        router = self.world.routers[number]
        router.follow()
        if router.reachable:
            router.look()
            router.call()

    @rule(number=two)
    def router_dies(self, number) -> None:
        self.world.kill(self.world.routers[number])

    @rule()
    def redis_goes_or_comes(self) -> None:
        self.world.away = not self.world.away

    @rule()
    def redis_saves(self) -> None:
        self.snapshots.append(self.world.bench.snapshot())

    @precondition(lambda self: not self.world.away)
    @rule(which=st.integers(0, 1000))
    def redis_forgets(self, which) -> None:
        self.world.forget(self.snapshots[which % len(self.snapshots)])

    @invariant()
    def no_law_is_broken(self) -> None:
        assert not self.world.faults, self.world.details

    def teardown(self) -> None:
        if not self.world.faults:
            self.world.finish()
        assert not self.world.faults, (self.world.faults, self.world.details)


def _explore(new_bench: Callable[[], Bench], examples: int, steps: int) -> None:
    machine = type("Machine", (RolloutMachine,), {"new_bench": staticmethod(new_bench)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_act_breaks_a_law_on_the_fake() -> None:
    _explore(lambda: FakeBench(Route("flights")), examples=150, steps=60)


def test_no_act_breaks_a_law_on_valkey(valkey_url: str) -> None:
    bench = ValkeyBench(Route("led"), valkey_url)

    def emptied() -> Bench:
        bench.restore(None)
        return bench

    _explore(emptied, examples=25, steps=40)
    bench.store.close()


@pytest.mark.parametrize("forgetful", [True, False])
def test_random_histories_break_no_law(forgetful: bool) -> None:
    for seed in range(100):
        world = random_rollout(RolloutWorld(FakeBench(Route("flights"))), seed, forgetful=forgetful)
        assert not world.faults, (seed, world.faults, world.details)


def test_script_and_fake_live_the_same_rollouts(valkey_url: str, new_route: Callable[[], Route]) -> None:
    for seed in range(5):
        route = new_route()
        fake, real = FakeBench(route), ValkeyBench(route, valkey_url)
        worlds = [random_rollout(RolloutWorld(bench), seed) for bench in (fake, real)]
        assert not worlds[0].faults
        assert worlds[0].log == worlds[1].log, seed
        assert fake.store.history(10_000) == real.store.history(10_000)
        real.store.close()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_planted_fault_is_found(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    fault.plant(monkeypatch)
    for seed in SEEDS:
        world = random_rollout(RolloutWorld(FakeBench(Route("flights"))), seed)
        if fault.law in world.faults:
            return
    pytest.fail(f"no history of {len(SEEDS)} breaks the law: {fault.law}")
