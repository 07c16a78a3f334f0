"""The six rules of the script: one suite for the fake and for a real server."""

from dataclasses import replace

import pytest
from support.split_acts import NONE, TENTH, THIRD, applied_of, call, happened, rolled_back, with_split
from support.split_benches import Bench
from support.status import METRICS, STATUS, TRIAL

from stream_router.core.route import RedisKey
from stream_router.core.routing.applied_split import INITIAL_SPLIT, AppliedSplit, Models, Versions
from stream_router.core.routing.control_view import ControlView
from stream_router.core.routing.proposal import Step
from stream_router.core.routing.split import ALL_STABLE_RAW
from stream_router.core.routing.split_store import ReadAgain, StepRefused
from stream_router.errors import ModelError


def test_no_split_routes_everything_to_stable(bench: Bench) -> None:
    assert applied_of(bench) == INITIAL_SPLIT
    assert bench.store.applied() is None
    assert happened(bench) == []


def test_a_plain_set_comes_into_force(bench: Bench) -> None:
    applied = with_split(bench)
    assert applied == bench.store.applied()
    assert (applied.raw, applied.canary, applied.epoch, applied.rollout, applied.registered) == (TENTH, 0.1, 1, 1, True)
    assert applied.bound == Versions("s1", "c1")
    assert applied.models == Models("s1", "c1")
    assert (applied.time, applied.who, applied.why) == (1_000, "test", "proposed in :split")


def test_an_identical_document_is_no_change(bench: Bench) -> None:
    applied = with_split(bench)
    bench.store.propose(TENTH)
    assert applied_of(bench) == applied
    assert happened(bench) == ["applied"]


def test_bytes_that_differ_are_another_split(bench: Bench) -> None:
    with_split(bench)
    bench.store.propose(TENTH + b" ")
    assert applied_of(bench).epoch == 2


def test_remember_puts_back_what_redis_forgot(bench: Bench) -> None:
    applied = with_split(bench)
    bench.restore(None)
    remembered = applied_of(bench, ControlView(registered=applied, latest=applied))
    assert (remembered.raw, remembered.rollout, remembered.bound) == (applied.raw, applied.rollout, applied.bound)
    assert remembered.epoch == applied.epoch + 1
    assert bench.split() == TENTH
    assert bench.store.models() == applied.models


def test_remember_keeps_the_epoch_of_the_same_split(bench: Bench) -> None:
    first = with_split(bench)
    same = AppliedSplit(raw=first.raw, canary=0.1, epoch=5, rollout=1, bound=first.bound, models=first.models)
    assert applied_of(bench, ControlView(registered=same, latest=same)).epoch == 5


def test_remember_spares_a_pending_document(bench: Bench) -> None:
    applied = with_split(bench)
    bench.restore(None)
    bench.store.propose(THIRD)
    assert applied_of(bench, ControlView(registered=applied, latest=applied)).raw == THIRD
    assert happened(bench) == ["remembered", "applied"]


def test_an_epoch_used_without_redis_raises_the_split_in_force_above_it(bench: Bench) -> None:
    applied = with_split(bench)
    own = AppliedSplit(epoch=7, registered=False)
    raised = applied_of(bench, ControlView(registered=applied, latest=own))
    assert (raised.epoch, raised.raw) == (8, TENTH)


def test_a_rollback_is_exactly_all_stable_in_both_keys(bench: Bench) -> None:
    with_split(bench)
    applied = applied_of(bench, rolled_back(1))
    assert (applied.raw, applied.canary, applied.epoch, applied.rollout) == (ALL_STABLE_RAW, 0.0, 2, 1)
    assert bench.split() == ALL_STABLE_RAW
    latch = bench.store.latch()
    assert latch is not None
    assert (latch.rollout, latch.reason, latch.time) == (1, "13.9 points worse", 1_000)


@pytest.mark.parametrize("key", ["split", "release", "rejected", "latch", "models", "history"])
def test_a_list_in_any_key_does_not_stop_a_rollback(bench: Bench, key: RedisKey) -> None:
    with_split(bench)
    bench.make_list(key)
    assert applied_of(bench, rolled_back(1)).raw == ALL_STABLE_RAW
    assert bench.split() == ALL_STABLE_RAW


def test_a_list_in_place_of_the_applied_split_counts_as_forgotten(bench: Bench) -> None:
    applied = with_split(bench)
    bench.make_list("applied")
    assert applied_of(bench, ControlView(registered=applied, latest=applied, latch=1)).raw == ALL_STABLE_RAW


def test_a_rollback_overtakes_a_pending_edit_visibly(bench: Bench) -> None:
    with_split(bench)
    bench.store.propose(THIRD)
    applied_of(bench, rolled_back(1))
    refusal = bench.store.rejected()
    assert refusal is not None
    assert (refusal.raw, refusal.code) == (THIRD, "overtaken")
    assert "overtaken by the rollback of rollout 1" in refusal.why
    assert happened(bench)[-2:] == ["overtaken", "rolled back"]


def test_an_overtaken_document_is_pending_when_it_is_set_again(bench: Bench) -> None:
    with_split(bench)
    bench.store.propose(THIRD)
    applied_of(bench, rolled_back(1))
    bench.store.release(1)
    bench.store.propose(THIRD)
    assert applied_of(bench, rolled_back(1)).raw == THIRD


def test_under_a_latch_the_refusal_names_the_command_that_ends_it(bench: Bench) -> None:
    with_split(bench)
    applied = applied_of(bench, rolled_back(1))
    bench.store.propose(TENTH)
    for _ in range(3):
        assert applied_of(bench, rolled_back(1)) == applied
    refusal = bench.store.rejected()
    assert refusal is not None
    assert refusal.code == "latched"
    assert f"SET stream_router:{{{bench.route.name}}}:release 1" in refusal.why
    assert "13.9 points worse" in refusal.why
    assert happened(bench).count("refused") == 1


def test_under_a_latch_a_split_without_canary_is_obeyed(bench: Bench) -> None:
    with_split(bench)
    applied_of(bench, rolled_back(1))
    bench.store.propose(NONE)
    assert applied_of(bench, rolled_back(1)).raw == NONE


def test_a_release_makes_the_refused_document_a_new_rollout(bench: Bench) -> None:
    with_split(bench)
    applied_of(bench, rolled_back(1))
    bench.store.propose(TENTH)
    applied_of(bench, rolled_back(1))
    bench.store.release(1)
    applied = applied_of(bench, rolled_back(1))
    assert (applied.raw, applied.rollout) == (TENTH, 2)
    assert bench.release_number() is None, "a release that has served its turn must not end a later latch"
    applied_of(bench, rolled_back(1))
    command = f"SET {bench.route.key('release')} 1"
    assert happened(bench)[-2:] == ["released", "applied"]
    assert bench.store.history(2)[1]["why"] == f"rollout 1 was released by: {command}"


def test_a_release_is_recorded_once_although_it_waits_for_a_split(bench: Bench) -> None:
    with_split(bench)
    applied_of(bench, rolled_back(1))
    bench.store.release(1)
    for _ in range(3):
        applied_of(bench, rolled_back(1))
    assert happened(bench)[-2:] == ["rolled back", "released"]
    assert bench.release_number() == 1


def test_a_release_of_a_latch_that_was_released_before_is_one_of_nothing(bench: Bench) -> None:
    with_split(bench)
    applied_of(bench, rolled_back(1))
    bench.store.release(1)
    bench.store.propose(TENTH)
    assert applied_of(bench, rolled_back(1)).rollout == 2
    bench.store.release(1)
    applied_of(bench, rolled_back(1))
    assert happened(bench)[-1] == "release of nothing"


def test_a_release_of_nothing_is_shown_although_the_epoch_is_raised_in_the_same_call(bench: Bench) -> None:
    with_split(bench)
    applied_of(bench, rolled_back(1))
    bench.store.release(1)
    bench.store.propose(TENTH)
    assert applied_of(bench, rolled_back(1)).rollout == 2
    bench.store.release(1)
    applied_of(bench, ControlView(latest=AppliedSplit(epoch=9, registered=False), latch=1))
    assert happened(bench)[-2:] == ["epoch raised", "release of nothing"]


def test_a_latch_tells_whether_it_holds_and_the_command_that_ends_it(bench: Bench) -> None:
    def latch() -> tuple[str, str]:
        applied_of(bench, rolled_back(1))
        latch = bench.store.latch()
        assert latch is not None
        return latch.state, latch.command

    holds = ("holds", f"SET {bench.route.key('release')} 1")
    with_split(bench)
    assert latch() == holds
    bench.store.release(1)
    assert latch() == ("released", "")
    bench.delete("release")
    assert latch() == holds, "a release that is taken back ends nothing"
    bench.store.release(1)
    bench.store.propose(TENTH)
    assert latch() == ("released", "")
    assert latch() == ("released", "")


def test_a_latch_under_which_a_later_rollout_is_in_force_is_over(bench: Bench) -> None:
    with_split(bench)
    bench.put_model("canary", "c2")
    applied_of(bench)
    applied_of(bench, rolled_back(1))
    latch = bench.store.latch()
    assert latch is not None
    assert (latch.state, latch.command) == ("over", "")


@pytest.mark.parametrize("sets_it_again", [False, True])
def test_after_a_second_rollback_a_refusal_names_the_command_of_its_latch(bench: Bench, sets_it_again: bool) -> None:
    with_split(bench)
    applied_of(bench, rolled_back(1))
    bench.store.propose(THIRD)
    applied_of(bench, rolled_back(1))
    bench.store.release(1)
    assert applied_of(bench, rolled_back(1)).rollout == 2
    assert applied_of(bench, rolled_back(2)).canary == 0
    if sets_it_again:
        bench.store.propose(THIRD)
        applied_of(bench, rolled_back(2))
    refusal = bench.store.rejected()
    assert refusal is not None
    assert (refusal.raw, refusal.code) == (THIRD, "latched")
    assert refusal.why.startswith("rollout 2 was rolled back")
    assert refusal.why.endswith(f"SET {bench.route.key('release')} 2")


@pytest.mark.parametrize("release", [2, 0, 11])
def test_a_release_of_no_holding_latch_is_deleted_and_shown(bench: Bench, release: int) -> None:
    with_split(bench)
    applied_of(bench, rolled_back(1))
    bench.store.release(release)
    applied_of(bench, rolled_back(1))
    assert bench.release_number() is None
    assert happened(bench)[-1] == "release of nothing"


def test_no_release_is_older_than_its_latch(bench: Bench) -> None:
    with_split(bench)
    bench.store.release(1)
    assert applied_of(bench, rolled_back(1)).canary == 0
    bench.store.propose(TENTH)
    assert applied_of(bench, rolled_back(1)).canary == 0


def test_an_intent_for_an_earlier_rollout_is_dropped(bench: Bench) -> None:
    with_split(bench)
    bench.put_model("canary", "c2")
    assert applied_of(bench).rollout == 2
    assert applied_of(bench, rolled_back(1)).canary == 0.1


def test_a_rollback_of_a_promoted_rollout_gives_stable_its_version_back(bench: Bench) -> None:
    applied = with_split(bench)
    promoted = applied_of(bench, step=Step(on=applied.epoch, promote=True))
    assert (promoted.raw, promoted.models) == (applied.raw, Models("c1", "c1", "s1", 1))
    assert applied_of(bench, rolled_back(1)).raw == ALL_STABLE_RAW
    assert bench.store.models() == Models("s1", "c1", "s1", None)


def test_a_promoted_rollout_stays_one_until_all_is_stables(bench: Bench) -> None:
    """It goes on with the versions that it is bound to, at each later step; then canary's next share is another's."""
    epoch = applied_of(bench, step=Step(on=with_split(bench).epoch, promote=True)).epoch
    quiet = applied_of(bench)
    assert (quiet.epoch, quiet.rollout, quiet.bound) == (epoch, 1, Versions("s1", "c1"))
    stepped = applied_of(bench, step=Step(on=epoch, canary=0.2, rollout=1))
    assert (stepped.rollout, stepped.bound, stepped.models.stable) == (1, Versions("s1", "c1"), "c1")
    last = applied_of(bench, step=Step(on=stepped.epoch, rollout=1))
    assert (last.rollout, last.canary, last.bound) == (1, 0.0, Versions("s1", "c1"))
    bench.store.propose(TENTH)
    again = applied_of(bench)
    assert (again.rollout, again.bound) == (2, Versions("c1", "c1"))


def test_another_canary_version_in_a_promotion_is_a_new_rollout(bench: Bench) -> None:
    applied_of(bench, step=Step(on=with_split(bench).epoch, promote=True))
    bench.put_model("canary", "c2")
    assert (applied_of(bench).rollout, applied_of(bench).bound) == (2, Versions("c1", "c2"))


def test_a_start_gives_canary_its_version_and_no_share(bench: Bench) -> None:
    """Also before the first split, and under a latch, which a later rollout ends; canary's first share is its own."""
    bench.put_model("stable", "s1")
    started = applied_of(bench, step=Step(on=0, rollout=1, start="c1"))
    assert (started.rollout, started.canary, started.epoch) == (1, 0.0, 1)
    assert (started.bound, started.models) == (Versions("s1", "c1"), Models("s1", "c1"))
    stepped = applied_of(bench, step=Step(on=1, canary=0.1, rollout=1))
    assert (stepped.rollout, stepped.canary) == (1, 0.1)
    view = rolled_back(1)
    back = applied_of(bench, view)
    again = applied_of(bench, view, step=Step(on=back.epoch, rollout=2, start="c2"))
    assert (again.rollout, again.canary, again.bound) == (2, 0.0, Versions("s1", "c2"))
    assert applied_of(bench, view, step=Step(on=again.epoch, canary=0.1, rollout=2)).canary == 0.1
    latch = (applied_of(bench, view), bench.store.latch())[1]
    assert latch is not None
    assert (latch.rollout, latch.state, latch.command) == (1, "over", "")


@pytest.mark.parametrize(
    ("number", "epoch", "latched", "why"),
    [
        (1, 1, 0, "rollout 1 cannot begin: rollout 1 is known already"),
        (2, 2, 2, "rollout 2 cannot begin: rollout 2 is known already"),
        (2, 0, 0, "decided on epoch 0, but epoch 1 is in force"),
        (2, 1, 0, "canary has a share: a rollout begins with none"),
    ],
)
def test_a_start_is_refused(bench: Bench, number: int, epoch: int, latched: int, why: str) -> None:
    """Of a number that is taken or rolled back, on another epoch, and while canary has a share."""
    with_split(bench)
    view = rolled_back(latched) if latched else ControlView()
    applied_of(bench, view)
    assert call(bench, view, step=Step(on=epoch, rollout=number, start="c2")) == StepRefused(why)
    assert bench.store.models().canary == "c1"


def test_a_step_is_refused_that_would_begin_another_rollout(bench: Bench) -> None:
    """While canary has no share another version makes no new rollout; its next share would."""
    started = applied_of(bench, step=Step(on=0, rollout=1, start="c1"))
    bench.put_model("canary", "c2")
    why = "a step of rollout 1, but the split would be one of rollout 2"
    assert call(bench, step=Step(on=started.epoch, canary=0.1, rollout=1)) == StepRefused(why)


def test_what_is_put_in_force_anew_says_so(bench: Bench) -> None:
    applied = with_split(bench)
    assert not applied.is_same_anew
    raised = applied_of(bench, ControlView(latest=AppliedSplit(epoch=7, registered=False)))
    bench.restore(None)
    remembered = applied_of(bench, ControlView(registered=raised, latest=raised))
    bench.restore(None)
    bench.store.propose(TENTH)
    unbound = applied_of(bench)
    bench.put_model("canary", "c1")
    bound = applied_of(bench)
    assert [split.is_same_anew for split in (raised, remembered, unbound, bound)] == [True, True, False, True]


def test_another_version_under_traffic_is_a_new_rollout(bench: Bench) -> None:
    with_split(bench)
    bench.put_model("canary", "c2")
    applied = applied_of(bench)
    assert (applied.epoch, applied.rollout, applied.bound, applied.raw) == (2, 2, Versions("s1", "c2"), TENTH)


def test_a_version_where_none_was_binds_the_running_rollout(bench: Bench) -> None:
    bench.store.propose(TENTH)
    assert applied_of(bench).bound == Versions()
    bench.store.register_model("canary", "c1")
    applied = applied_of(bench)
    assert (applied.rollout, applied.bound) == (1, Versions(None, "c1"))


def test_an_absent_version_is_never_another(bench: Bench) -> None:
    applied = with_split(bench)
    bench.delete("models")
    assert applied_of(bench) == applied
    bench.put_model("stable", "s1")
    assert applied_of(bench).bound == Versions("s1", "c1")


def test_the_same_versions_resume_the_rollout(bench: Bench) -> None:
    with_split(bench)
    bench.store.propose(NONE)
    applied_of(bench)
    bench.store.propose(THIRD)
    assert applied_of(bench).rollout == 1


def test_other_versions_begin_a_new_rollout(bench: Bench) -> None:
    with_split(bench)
    bench.store.propose(NONE)
    applied_of(bench)
    bench.put_model("canary", "c2")
    bench.store.propose(THIRD)
    assert applied_of(bench).rollout == 2


def test_a_step_is_applied_and_written(bench: Bench) -> None:
    applied = with_split(bench)
    stepped = applied_of(bench, step=Step(on=applied.epoch, canary=0.2))
    assert (stepped.canary, stepped.epoch, stepped.rollout) == (0.2, 2, 1)
    assert bench.split() == stepped.raw


def test_a_step_is_refused_on_another_epoch(bench: Bench) -> None:
    applied = with_split(bench)
    assert isinstance(call(bench, step=Step(on=applied.epoch + 1, canary=0.2)), StepRefused)
    assert bench.store.applied() == applied


def test_a_step_waits_for_a_pending_edit(bench: Bench) -> None:
    applied = with_split(bench)
    bench.store.propose(THIRD)
    reply = call(bench, step=Step(on=applied.epoch, canary=0.2))
    assert reply == StepRefused("an edit of the split is pending")
    assert bench.split() == THIRD


def test_a_step_is_refused_under_a_latch(bench: Bench) -> None:
    with_split(bench)
    applied = applied_of(bench, rolled_back(1))
    assert call(bench, step=Step(on=applied.epoch, canary=0.2)) == StepRefused("the latch of rollout 1 holds")


def test_a_promotion_needs_a_bound_version_with_a_share(bench: Bench) -> None:
    bench.store.propose(TENTH)
    applied = applied_of(bench)
    assert isinstance(call(bench, step=Step(on=applied.epoch, promote=True)), StepRefused)


def test_a_stalled_caller_cannot_bring_an_old_split_back(bench: Bench) -> None:
    with_split(bench)
    bench.store.propose(THIRD)
    old = bench.store.look()
    bench.store.propose(NONE)
    assert bench.store.call(ControlView(), old, now=1_000, who="test") == ReadAgain()
    assert applied_of(bench).raw == NONE


def test_a_new_split_outnumbers_everything_known(bench: Bench) -> None:
    view = ControlView(latest=AppliedSplit(epoch=2**52, registered=False), latch=2**40)
    applied_of(bench, view)
    bench.store.release(2**40)
    bench.store.propose(TENTH)
    applied = applied_of(bench, view)
    assert (applied.epoch, applied.rollout) == (2**52 + 1, 2**40 + 1)


def test_a_weight_of_a_millionth_comes_back_exactly(bench: Bench) -> None:
    bench.store.propose(b'{"stable": 0.999999, "canary": 1e-6}')
    assert applied_of(bench).canary == 1e-6


def test_a_lane_keeps_its_first_version(bench: Bench) -> None:
    bench.store.register_model("canary", "c1")
    bench.store.register_model("canary", "c1")
    with pytest.raises(ModelError, match="'c1', not 'c2'") as error:
        bench.store.register_model("canary", "c2")
    assert f"HSET {bench.route.key('models')} canary c2" in str(error.value)
    with pytest.raises(ModelError, match="empty"):
        bench.store.register_model("stable", "")
    assert bench.store.models() == Models(canary="c1")


def test_the_status_is_what_was_written_last(bench: Bench) -> None:
    assert bench.store.status() is None
    decided = replace(TRIAL, e_value=None, threshold=None)
    many = (replace(STATUS, trial=trial, metrics=METRICS) for trial in (TRIAL, decided))
    for status in (STATUS, *many, replace(STATUS, rollout=4, written_at=None, holds=())):
        bench.store.write_status(status)
        assert bench.store.status() == status
