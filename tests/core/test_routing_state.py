"""Which split a router routes by, with Redis and without."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_router.core.routing.applied_split import INITIAL_SPLIT, AppliedSplit, Versions
from stream_router.core.routing.control_view import ControlView
from stream_router.core.routing.routing_state import SCRIPT_DEADLINE_MS, RoutingState
from stream_router.core.routing.split import ALL_STABLE_RAW

BOUND = Versions("s1", "c1")
splits = st.builds(
    lambda epoch, rollout, share, registered: applied(epoch, rollout, canary=0.1 * share, registered=registered),
    st.integers(1, 9),
    st.integers(0, 4),
    st.integers(0, 1),
    st.booleans(),
)


def applied(epoch: int, rollout: int = 3, *, canary: float = 0.1, registered: bool = True) -> AppliedSplit:
    raw = b'{"stable": 0.9, "canary": 0.1}' if canary else ALL_STABLE_RAW
    return AppliedSplit(raw=raw, canary=canary, epoch=epoch, rollout=rollout, bound=BOUND, registered=registered)


def routing(by: AppliedSplit) -> RoutingState:
    state = RoutingState(who="router-1")
    state.on_applied(by, 0)
    return state


def test_before_the_first_split_everything_goes_to_stable() -> None:
    state = RoutingState(who="router-1")
    assert state.in_force == INITIAL_SPLIT
    assert not state.must_write(state.in_force)


def test_each_newly_adopted_split_is_written_once() -> None:
    state = routing(applied(5))
    assert state.must_write(state.in_force)
    state.on_written(state.in_force)
    assert not state.must_write(state.in_force)
    assert not state.on_applied(applied(5), 10)
    assert not state.must_write(state.in_force)
    assert state.on_applied(applied(6), 20)
    assert state.must_write(state.in_force)


def test_a_split_is_written_again_after_a_transaction_that_failed() -> None:
    state = routing(applied(5))
    assert state.must_write(state.in_force)
    assert state.must_write(state.in_force)


def test_what_other_routers_wrote_is_known_and_not_in_force() -> None:
    state = routing(applied(5))
    state.on_split(applied(9))
    assert state.in_force == applied(5)
    assert state.view.registered == applied(9)


def test_an_epoch_that_falls_is_not_adopted() -> None:
    state = routing(applied(5))
    assert not state.on_applied(applied(4), 10)
    assert state.in_force == applied(5)


@pytest.mark.parametrize("rolled_back", [3, 4])
def test_a_router_declares_a_rollback_when_the_script_is_silent_for_a_second(rolled_back: int) -> None:
    state = routing(applied(5))
    state.on_split(applied(8, 2, canary=0.0))
    state.on_rollback(rolled_back, "worse", 1_000)
    assert not state.on_time(1_000 + SCRIPT_DEADLINE_MS - 1)
    assert state.in_force == applied(5)
    assert state.on_time(1_000 + SCRIPT_DEADLINE_MS)
    own = state.in_force
    assert (own.raw, own.canary, own.epoch, own.rollout, own.bound) == (ALL_STABLE_RAW, 0.0, 9, 3, BOUND)
    assert (own.registered, own.who, own.time) == (False, "router-1", 1_000 + SCRIPT_DEADLINE_MS)
    assert state.must_write(own)
    assert state.view.highest_epoch == 9
    assert state.view.registered == applied(8, 2, canary=0.0)


def test_a_rollback_is_declared_once() -> None:
    state = routing(applied(5))
    state.on_rollback(3, "worse", 0)
    assert state.on_time(SCRIPT_DEADLINE_MS)
    assert not state.on_time(9 * SCRIPT_DEADLINE_MS)
    assert state.in_force.epoch == 6


def test_an_intent_for_an_earlier_rollout_is_dropped() -> None:
    state = routing(applied(5))
    state.on_rollback(2, "worse", 0)
    assert not state.on_time(9 * SCRIPT_DEADLINE_MS)
    assert state.in_force == applied(5)


def test_a_split_without_canary_needs_no_declaration() -> None:
    state = routing(applied(5, canary=0.0))
    state.on_rollback(3, "worse", 0)
    assert not state.on_time(9 * SCRIPT_DEADLINE_MS)


def test_the_script_in_time_spares_the_declaration() -> None:
    state = routing(applied(5))
    state.on_rollback(3, "worse", 0)
    assert state.on_applied(applied(6, canary=0.0), 500)
    assert not state.on_time(9 * SCRIPT_DEADLINE_MS)
    assert state.in_force.registered


def test_a_success_that_leaves_canary_its_share_does_not_stop_the_second() -> None:
    state = routing(applied(5))
    state.on_rollback(3, "worse", 0)
    assert not state.on_applied(applied(6), 500)
    assert state.on_time(SCRIPT_DEADLINE_MS)


def test_after_its_own_split_a_router_obeys_the_script_again() -> None:
    state = routing(applied(5))
    state.on_rollback(3, "worse", 0)
    state.on_time(SCRIPT_DEADLINE_MS)
    assert state.on_applied(applied(7, 4), 2 * SCRIPT_DEADLINE_MS)
    assert state.in_force == applied(7, 4)


def test_the_registered_twin_of_an_own_split_is_written_too() -> None:
    state = routing(applied(5))
    state.on_rollback(3, "worse", 0)
    state.on_time(SCRIPT_DEADLINE_MS)
    state.on_written(state.in_force)
    assert state.on_applied(applied(6, canary=0.0), 2 * SCRIPT_DEADLINE_MS)
    assert state.must_write(state.in_force)


def test_a_clock_that_is_set_back_delays_a_rollback_by_a_second_at_most() -> None:
    state = routing(applied(5))
    state.on_rollback(3, "worse", 10_000_000)
    assert not state.on_time(0)
    assert state.on_time(SCRIPT_DEADLINE_MS)


def test_a_start_without_redis_takes_the_highest_epoch() -> None:
    state = RoutingState(who="router-1")
    for record in (applied(4), applied(6), applied(5)):
        state.on_split(record)
    assert state.start_alone(0)
    assert state.in_force == applied(6)


def test_a_start_without_redis_takes_the_later_of_equal_epochs() -> None:
    state = RoutingState(who="router-1")
    state.on_split(applied(6))
    state.on_split(applied(6, canary=0.0, registered=False))
    state.start_alone(0)
    assert state.in_force == applied(6, canary=0.0, registered=False)


def test_a_start_without_redis_applies_the_rollbacks_at_once() -> None:
    state = RoutingState(who="router-1")
    state.on_split(applied(6))
    state.on_rollback(3, "worse", 0)
    state.start_alone(0)
    assert (state.in_force.canary, state.in_force.epoch, state.in_force.registered) == (0.0, 7, False)


def test_a_start_without_anything_routes_to_stable() -> None:
    state = RoutingState(who="router-1")
    assert not state.start_alone(0)
    assert state.in_force == INITIAL_SPLIT


def test_starting_alone_changes_nothing_once_a_split_is_in_force() -> None:
    state = routing(applied(5))
    state.on_split(applied(9))
    assert not state.start_alone(0)
    assert state.in_force == applied(5)


@given(st.lists(splits))
def test_the_view_is_the_highest_of_each_kind(records: list[AppliedSplit]) -> None:
    view = ControlView()
    for record in records:
        view.on_split(record)
    registered = [record.epoch for record in records if record.registered]
    assert (view.registered.epoch if view.registered else None) == max(registered, default=None)
    assert view.registered is None or view.registered.registered
    assert view.highest_epoch == max((record.epoch for record in records), default=0)


acts = st.lists(st.tuples(st.sampled_from(["split", "applied", "rollback", "time"]), splits, st.integers(0, 1_500)))


@given(acts)
def test_epochs_never_fall_and_a_known_rollback_is_never_undone(acts: list[tuple[str, AppliedSplit, int]]) -> None:
    state, now = RoutingState(who="router-1"), 0
    for act, argument, passed in acts:
        before, now = state.in_force, now + passed
        if act == "split":
            state.on_split(argument)
        elif act == "applied":
            state.on_applied(argument, now)
        elif act == "rollback":
            state.on_rollback(argument.rollout, "worse", now)
        else:
            state.on_time(now)
        assert state.in_force.epoch >= before.epoch
        if state.view.forbids(state.in_force):
            assert state.in_force == before, "canary's share may stay for a second, but never come"
