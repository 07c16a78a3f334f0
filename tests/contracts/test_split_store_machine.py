"""Random histories of operators, routers, a controller and a forgetful Redis break no rule of the contract."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from support.split_benches import Bench, FakeBench, ValkeyBench
from support.split_faults import FAULTS, Fault, planted, planted_script
from support.split_histories import random_history
from support.split_world import LIST, MISSING, Document, Router, World, document

from stream_router.adapters.redis.store import SCRIPT
from stream_router.core.route import Route
from stream_router.core.routing import control_view, routing_state
from stream_router.core.routing.split import ALL_STABLE_RAW
from stream_router.testing import rules, split_store

DOCUMENTS: tuple[Document, ...] = (
    *(document(number, canary) for number, canary in enumerate((0.0, 0.1, 0.3, 0.3, None, None))),
    ("string", ALL_STABLE_RAW),
    MISSING,
    LIST,
)
numbers = st.integers(0, 2)
SEEDS = range(800)
"""Histories in which every planted fault must show up at least once."""


class SplitStoreMachine(RuleBasedStateMachine):
    """Chooses the acts of a World; `new_bench` is set for each kind of server."""

    new_bench: Callable[[], Bench]

    def __init__(self) -> None:
        super().__init__()
        self.world = World(type(self).new_bench())
        self.snapshots: list[object] = [None]

    def router(self, number: int) -> Router:
        return self.world.routers[number]

    @precondition(lambda self: not self.world.away)
    @rule(edit=st.sampled_from(DOCUMENTS))
    def operator_edits(self, edit: Document) -> None:
        self.world.edit(edit)

    @precondition(lambda self: not self.world.away)
    @rule(latest=st.booleans(), number=st.integers(1, 6))
    def operator_releases(self, latest: bool, number: int) -> None:
        self.world.bench.store.release(self.world.latch or number if latest else number)

    @precondition(lambda self: not self.world.away)
    @rule(lane=st.sampled_from(["stable", "canary"]), version=st.sampled_from(["v1", "v2", "v3"]))
    def job_registers(self, lane: str, version: str) -> None:
        self.world.register(lane, version)

    @rule()
    def controller_rolls_back(self) -> None:
        rollout = max((router.state.in_force.rollout for router in self.world.routers), default=0)
        if rollout:
            self.world.roll_back(rollout)

    @rule(number=numbers, canary=st.sampled_from([0.2, 0.5]), promote=st.booleans(), stale=st.booleans())
    def controller_steps(self, number: int, canary: float, promote: bool, stale: bool) -> None:
        if self.router(number).reachable:
            self.world.step(self.router(number), canary=canary, promote=promote, stale=stale)

    @rule(number=numbers, version=st.sampled_from(["v1", "v2", "v3"]), above=st.integers(0, 2))
    def controller_starts(self, number: int, version: str, above: int) -> None:
        if self.router(number).reachable:
            self.world.start(self.router(number), version, number=above)

    @rule(number=numbers, most=st.sampled_from([1, None]))
    def router_follows(self, number: int, most: int | None) -> None:
        self.router(number).follow(most)

    @rule(number=numbers)
    def router_looks(self, number: int) -> None:
        if self.router(number).reachable:
            self.router(number).look()

    @rule(number=numbers)
    def router_calls(self, number: int) -> None:
        router = self.router(number)
        if router.reachable:
            if not router.splits_read:
                router.follow()
            router.call()

    @rule(number=numbers)
    def router_is_cut_or_mended(self, number: int) -> None:
        self.router(number).cut = not self.router(number).cut

    @rule(number=numbers)
    def router_dies(self, number: int) -> None:
        self.world.kill(self.router(number))

    @rule()
    def redis_goes_or_comes(self) -> None:
        self.world.away = not self.world.away

    @rule()
    def redis_saves(self) -> None:
        self.snapshots.append(self.world.bench.snapshot())

    @precondition(lambda self: not self.world.away)
    @rule(which=st.integers(0, 1000))
    def redis_forgets(self, which: int) -> None:
        self.world.forget(self.snapshots[which % len(self.snapshots)])

    @invariant()
    def no_rule_is_broken(self) -> None:
        assert not self.world.faults, self.world.details

    def teardown(self) -> None:
        if not self.world.faults:
            self.world.finish()
        assert not self.world.faults, (self.world.faults, self.world.details)


def _explore(new_bench: Callable[[], Bench], examples: int, steps: int) -> None:
    machine = type("Machine", (SplitStoreMachine,), {"new_bench": staticmethod(new_bench)})
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


def test_no_act_breaks_a_rule_on_the_fake() -> None:
    _explore(lambda: FakeBench(Route("flights")), examples=200, steps=50)


def test_no_act_breaks_a_rule_on_valkey(valkey_url: str) -> None:
    bench = ValkeyBench(Route("explored"), valkey_url)

    def emptied() -> Bench:
        bench.restore(None)
        return bench

    _explore(emptied, examples=60, steps=40)
    bench.store.close()


@pytest.mark.parametrize("forgetful", [True, False])
def test_random_histories_break_no_rule(forgetful: bool) -> None:
    for seed in range(600):
        world = random_history(World(FakeBench(Route("flights"))), seed, forgetful=forgetful)
        assert not world.faults, (seed, world.faults, world.details)


def test_script_and_fake_live_the_same_histories(valkey_url: str, new_route: Callable[[], Route]) -> None:
    for seed in range(8):
        route = new_route()
        fake, real = FakeBench(route), ValkeyBench(route, valkey_url)
        for bench in (fake, real):
            assert not random_history(World(bench), seed).faults
        for read in ("applied", "rejected", "latch", "models"):
            assert getattr(fake.store, read)() == getattr(real.store, read)(), (seed, read)
        assert fake.store.history(10_000) == real.store.history(10_000)
        real.store.close()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_planted_fault_is_found(
    fault: Fault,
    valkey_url: str,
    new_route: Callable[[], Route],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(split_store, "Call", planted(rules, fault.fake).Call)
    sound = control_view.ControlView.on_split
    monkeypatch.setattr(
        control_view.ControlView,
        "on_split",
        planted(control_view, fault.control_view).ControlView.on_split if fault.control_view else sound,
    )
    state = planted(routing_state, fault.routing_state)
    monkeypatch.setattr(routing_state.RoutingState, "on_time", state.RoutingState.on_time)
    seed = next(seed for seed in SEEDS if random_history(World(FakeBench(new_route())), seed).faults)
    if fault.lua:
        bench = ValkeyBench(new_route(), valkey_url, planted_script(SCRIPT, fault))
        assert random_history(World(bench), seed).faults, (
            f"apply_split.lua with this fault breaks no rule in history {seed}"
        )
        bench.store.close()
