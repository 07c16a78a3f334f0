"""Which law a router routes by, with Redis and without."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_router.core.routing.knowledge import Knowledge
from stream_router.core.routing.law import NO_LAW, Law, Versions
from stream_router.core.routing.routing_state import PATIENCE, RoutingState
from stream_router.core.routing.split import ALL_STABLE_RAW

BOUND = Versions("s1", "c1")
laws = st.builds(
    lambda epoch, rollout, share, registered: law(epoch, rollout, canary=0.1 * share, registered=registered),
    st.integers(1, 9),
    st.integers(0, 4),
    st.integers(0, 1),
    st.booleans(),
)


def law(epoch: int, rollout: int = 3, *, canary: float = 0.1, registered: bool = True) -> Law:
    raw = b'{"stable": 0.9, "canary": 0.1}' if canary else ALL_STABLE_RAW
    return Law(raw=raw, canary=canary, epoch=epoch, rollout=rollout, bound=BOUND, registered=registered)


def routing(by: Law) -> RoutingState:
    state = RoutingState(who="router-1")
    state.on_law(by, 0)
    return state


def test_before_the_first_law_everything_goes_to_stable() -> None:
    state = RoutingState(who="router-1")
    assert state.law == NO_LAW
    assert not state.must_write(state.law)


def test_each_newly_adopted_law_is_written_once() -> None:
    state = routing(law(5))
    assert state.must_write(state.law)
    state.on_written(state.law)
    assert not state.must_write(state.law)
    assert not state.on_law(law(5), 10)
    assert not state.must_write(state.law)
    assert state.on_law(law(6), 20)
    assert state.must_write(state.law)


def test_a_law_is_written_again_after_a_transaction_that_failed() -> None:
    state = routing(law(5))
    assert state.must_write(state.law)
    assert state.must_write(state.law)


def test_what_other_routers_wrote_is_knowledge_and_not_the_law() -> None:
    state = routing(law(5))
    state.on_split(law(9))
    assert state.law == law(5)
    assert state.knowledge.known == law(9)


def test_an_epoch_that_falls_is_not_adopted() -> None:
    state = routing(law(5))
    assert not state.on_law(law(4), 10)
    assert state.law == law(5)


@pytest.mark.parametrize("rolled_back", [3, 4])
def test_a_router_declares_a_rollback_when_the_script_is_silent_for_a_second(rolled_back: int) -> None:
    state = routing(law(5))
    state.on_split(law(8, 2, canary=0.0))
    state.on_rollback(rolled_back, "worse", 1_000)
    assert not state.on_time(1_000 + PATIENCE - 1)
    assert state.law == law(5)
    assert state.on_time(1_000 + PATIENCE)
    own = state.law
    assert (own.raw, own.canary, own.epoch, own.rollout, own.bound) == (ALL_STABLE_RAW, 0.0, 9, 3, BOUND)
    assert (own.registered, own.who, own.time) == (False, "router-1", 1_000 + PATIENCE)
    assert state.must_write(own)
    assert state.knowledge.floor == 9
    assert state.knowledge.known == law(8, 2, canary=0.0)


def test_a_rollback_is_declared_once() -> None:
    state = routing(law(5))
    state.on_rollback(3, "worse", 0)
    assert state.on_time(PATIENCE)
    assert not state.on_time(9 * PATIENCE)
    assert state.law.epoch == 6


def test_an_intent_for_an_earlier_rollout_is_dropped() -> None:
    state = routing(law(5))
    state.on_rollback(2, "worse", 0)
    assert not state.on_time(9 * PATIENCE)
    assert state.law == law(5)


def test_a_law_without_canary_needs_no_declaration() -> None:
    state = routing(law(5, canary=0.0))
    state.on_rollback(3, "worse", 0)
    assert not state.on_time(9 * PATIENCE)


def test_the_script_in_time_spares_the_declaration() -> None:
    state = routing(law(5))
    state.on_rollback(3, "worse", 0)
    assert state.on_law(law(6, canary=0.0), 500)
    assert not state.on_time(9 * PATIENCE)
    assert state.law.registered


def test_a_success_that_leaves_canary_its_share_does_not_stop_the_second() -> None:
    state = routing(law(5))
    state.on_rollback(3, "worse", 0)
    assert not state.on_law(law(6), 500)
    assert state.on_time(PATIENCE)


def test_after_its_own_split_a_router_obeys_the_script_again() -> None:
    state = routing(law(5))
    state.on_rollback(3, "worse", 0)
    state.on_time(PATIENCE)
    assert state.on_law(law(7, 4), 2 * PATIENCE)
    assert state.law == law(7, 4)


def test_the_registered_twin_of_an_own_split_is_written_too() -> None:
    state = routing(law(5))
    state.on_rollback(3, "worse", 0)
    state.on_time(PATIENCE)
    state.on_written(state.law)
    assert state.on_law(law(6, canary=0.0), 2 * PATIENCE)
    assert state.must_write(state.law)


def test_a_clock_that_is_set_back_delays_a_rollback_by_a_second_at_most() -> None:
    state = routing(law(5))
    state.on_rollback(3, "worse", 10_000_000)
    assert not state.on_time(0)
    assert state.on_time(PATIENCE)


def test_a_start_without_redis_takes_the_highest_epoch() -> None:
    state = RoutingState(who="router-1")
    for record in (law(4), law(6), law(5)):
        state.on_split(record)
    assert state.start_alone(0)
    assert state.law == law(6)


def test_a_start_without_redis_takes_the_later_of_equal_epochs() -> None:
    state = RoutingState(who="router-1")
    state.on_split(law(6))
    state.on_split(law(6, canary=0.0, registered=False))
    state.start_alone(0)
    assert state.law == law(6, canary=0.0, registered=False)


def test_a_start_without_redis_applies_the_intents_at_once() -> None:
    state = RoutingState(who="router-1")
    state.on_split(law(6))
    state.on_rollback(3, "worse", 0)
    state.start_alone(0)
    assert (state.law.canary, state.law.epoch, state.law.registered) == (0.0, 7, False)


def test_a_start_without_anything_routes_to_stable() -> None:
    state = RoutingState(who="router-1")
    assert not state.start_alone(0)
    assert state.law == NO_LAW


def test_starting_alone_changes_nothing_once_a_law_is_in_force() -> None:
    state = routing(law(5))
    state.on_split(law(9))
    assert not state.start_alone(0)
    assert state.law == law(5)


@given(st.lists(laws))
def test_knowledge_is_the_highest_of_each_kind(records: list[Law]) -> None:
    knowledge = Knowledge()
    for record in records:
        knowledge.on_split(record)
    registered = [record.epoch for record in records if record.registered]
    assert (knowledge.known.epoch if knowledge.known else None) == max(registered, default=None)
    assert knowledge.known is None or knowledge.known.registered
    assert knowledge.floor == max((record.epoch for record in records), default=0)


acts = st.lists(st.tuples(st.sampled_from(["split", "law", "rollback", "time"]), laws, st.integers(0, 1_500)))


@given(acts)
def test_epochs_never_fall_and_a_known_rollback_is_never_undone(acts: list[tuple[str, Law, int]]) -> None:
    state, now = RoutingState(who="router-1"), 0
    for act, argument, passed in acts:
        before, now = state.law, now + passed
        if act == "split":
            state.on_split(argument)
        elif act == "law":
            state.on_law(argument, now)
        elif act == "rollback":
            state.on_rollback(argument.rollout, "worse", now)
        else:
            state.on_time(now)
        assert state.law.epoch >= before.epoch
        if state.knowledge.forbids(state.law):
            assert state.law == before, "canary's share may stay for a second, but never come"
