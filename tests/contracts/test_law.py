"""The six rules of the script: one suite for the fake and for a real server."""

import pytest
from support.law_acts import NONE, TENTH, THIRD, call, happened, law_of, rolled_back, with_law
from support.law_benches import Bench

from stream_router.core.route import RedisKey
from stream_router.core.routing.knowledge import Knowledge
from stream_router.core.routing.law import NO_LAW, Law, Models, Versions
from stream_router.core.routing.law_store import ReadAgain, StepRefused
from stream_router.core.routing.proposal import Step
from stream_router.core.routing.split import ALL_STABLE_RAW
from stream_router.errors import ModelError


def test_no_law_routes_everything_to_stable(bench: Bench) -> None:
    assert law_of(bench) == NO_LAW
    assert bench.store.applied() is None
    assert happened(bench) == []


def test_a_plain_set_becomes_law(bench: Bench) -> None:
    law = with_law(bench)
    assert law == bench.store.applied()
    assert (law.raw, law.canary, law.epoch, law.rollout, law.registered) == (TENTH, 0.1, 1, 1, True)
    assert law.bound == Versions("s1", "c1")
    assert law.models == Models("s1", "c1")
    assert (law.time, law.who, law.why) == (1_000, "test", "applied")


def test_an_identical_document_is_no_change(bench: Bench) -> None:
    law = with_law(bench)
    bench.store.propose(TENTH)
    assert law_of(bench) == law
    assert happened(bench) == ["applied"]


def test_bytes_that_differ_are_another_law(bench: Bench) -> None:
    with_law(bench)
    bench.store.propose(TENTH + b" ")
    assert law_of(bench).epoch == 2


def test_remember_puts_back_what_redis_forgot(bench: Bench) -> None:
    law = with_law(bench)
    bench.restore(None)
    remembered = law_of(bench, Knowledge(known=law, newest=law))
    assert (remembered.raw, remembered.rollout, remembered.bound) == (law.raw, law.rollout, law.bound)
    assert remembered.epoch == law.epoch + 1
    assert bench.split() == TENTH
    assert bench.store.models() == law.models


def test_remember_keeps_the_epoch_of_the_same_law(bench: Bench) -> None:
    first = with_law(bench)
    same = Law(raw=first.raw, canary=0.1, epoch=5, rollout=1, bound=first.bound, models=first.models)
    assert law_of(bench, Knowledge(known=same, newest=same)).epoch == 5


def test_remember_spares_a_pending_document(bench: Bench) -> None:
    law = with_law(bench)
    bench.restore(None)
    bench.store.propose(THIRD)
    assert law_of(bench, Knowledge(known=law, newest=law)).raw == THIRD
    assert happened(bench) == ["remembered", "applied"]


def test_an_epoch_used_without_redis_raises_the_law_above_it(bench: Bench) -> None:
    law = with_law(bench)
    own = Law(epoch=7, registered=False)
    raised = law_of(bench, Knowledge(known=law, newest=own))
    assert (raised.epoch, raised.raw) == (8, TENTH)


def test_a_rollback_is_exactly_all_stable_in_both_keys(bench: Bench) -> None:
    with_law(bench)
    law = law_of(bench, rolled_back(1))
    assert (law.raw, law.canary, law.epoch, law.rollout) == (ALL_STABLE_RAW, 0.0, 2, 1)
    assert bench.split() == ALL_STABLE_RAW
    latch = bench.store.latch()
    assert latch is not None
    assert (latch.rollout, latch.reason, latch.time) == (1, "13.9 points worse", 1_000)


@pytest.mark.parametrize("key", ["split", "release", "rejected", "latch", "models", "history"])
def test_a_list_in_any_key_does_not_stop_a_rollback(bench: Bench, key: RedisKey) -> None:
    with_law(bench)
    bench.make_list(key)
    assert law_of(bench, rolled_back(1)).raw == ALL_STABLE_RAW
    assert bench.split() == ALL_STABLE_RAW


def test_a_list_in_place_of_the_law_counts_as_forgotten(bench: Bench) -> None:
    law = with_law(bench)
    bench.make_list("applied")
    assert law_of(bench, Knowledge(known=law, newest=law, latch=1)).raw == ALL_STABLE_RAW


def test_a_rollback_overtakes_a_pending_edit_visibly(bench: Bench) -> None:
    with_law(bench)
    bench.store.propose(THIRD)
    law_of(bench, rolled_back(1))
    refusal = bench.store.rejected()
    assert refusal is not None
    assert (refusal.raw, refusal.code) == (THIRD, "overtaken")
    assert "overtaken by the rollback of rollout 1" in refusal.why
    assert happened(bench)[-2:] == ["overtaken", "rolled back"]


def test_an_overtaken_document_is_pending_when_it_is_set_again(bench: Bench) -> None:
    with_law(bench)
    bench.store.propose(THIRD)
    law_of(bench, rolled_back(1))
    bench.store.release(1)
    bench.store.propose(THIRD)
    assert law_of(bench, rolled_back(1)).raw == THIRD


def test_under_a_latch_the_refusal_names_the_command_that_ends_it(bench: Bench) -> None:
    with_law(bench)
    law = law_of(bench, rolled_back(1))
    bench.store.propose(TENTH)
    for _ in range(3):
        assert law_of(bench, rolled_back(1)) == law
    refusal = bench.store.rejected()
    assert refusal is not None
    assert refusal.code == "latched"
    assert f"SET stream_router:{{{bench.route.name}}}:release 1" in refusal.why
    assert "13.9 points worse" in refusal.why
    assert happened(bench).count("refused") == 1


def test_under_a_latch_a_split_without_canary_is_obeyed(bench: Bench) -> None:
    with_law(bench)
    law_of(bench, rolled_back(1))
    bench.store.propose(NONE)
    assert law_of(bench, rolled_back(1)).raw == NONE


def test_a_release_makes_the_refused_document_a_new_rollout(bench: Bench) -> None:
    with_law(bench)
    law_of(bench, rolled_back(1))
    bench.store.propose(TENTH)
    law_of(bench, rolled_back(1))
    bench.store.release(1)
    law = law_of(bench, rolled_back(1))
    assert (law.raw, law.rollout) == (TENTH, 2)
    law_of(bench, rolled_back(1))
    assert bench.release_number() is None, "a release that has served its turn must not end a later latch"


@pytest.mark.parametrize("release", [2, 0, 11])
def test_a_release_of_no_holding_latch_is_deleted_and_shown(bench: Bench, release: int) -> None:
    with_law(bench)
    law_of(bench, rolled_back(1))
    bench.store.release(release)
    law_of(bench, rolled_back(1))
    assert bench.release_number() is None
    assert happened(bench)[-1] == "release of nothing"


def test_no_release_is_older_than_its_latch(bench: Bench) -> None:
    with_law(bench)
    bench.store.release(1)
    assert law_of(bench, rolled_back(1)).canary == 0
    bench.store.propose(TENTH)
    assert law_of(bench, rolled_back(1)).canary == 0


def test_an_intent_for_an_earlier_rollout_is_dropped(bench: Bench) -> None:
    with_law(bench)
    bench.put_model("canary", "c2")
    assert law_of(bench).rollout == 2
    assert law_of(bench, rolled_back(1)).canary == 0.1


def test_a_rollback_of_a_promoted_rollout_gives_stable_its_version_back(bench: Bench) -> None:
    law = with_law(bench)
    promoted = law_of(bench, step=Step(on=law.epoch, promote=True))
    assert (promoted.raw, promoted.models) == (ALL_STABLE_RAW, Models("c1", "c1", "s1", 1))
    law_of(bench, rolled_back(1))
    assert bench.store.models() == Models("s1", "c1", "s1", None)


def test_another_version_under_traffic_is_a_new_rollout(bench: Bench) -> None:
    with_law(bench)
    bench.put_model("canary", "c2")
    law = law_of(bench)
    assert (law.epoch, law.rollout, law.bound, law.raw) == (2, 2, Versions("s1", "c2"), TENTH)


def test_a_version_where_none_was_binds_the_running_rollout(bench: Bench) -> None:
    bench.store.propose(TENTH)
    assert law_of(bench).bound == Versions()
    bench.store.register_model("canary", "c1")
    law = law_of(bench)
    assert (law.rollout, law.bound) == (1, Versions(None, "c1"))


def test_an_absent_version_is_never_another(bench: Bench) -> None:
    law = with_law(bench)
    bench.delete("models")
    assert law_of(bench) == law
    bench.put_model("stable", "s1")
    assert law_of(bench).bound == Versions("s1", "c1")


def test_the_same_versions_resume_the_rollout(bench: Bench) -> None:
    with_law(bench)
    bench.store.propose(NONE)
    law_of(bench)
    bench.store.propose(THIRD)
    assert law_of(bench).rollout == 1


def test_other_versions_begin_a_new_rollout(bench: Bench) -> None:
    with_law(bench)
    bench.store.propose(NONE)
    law_of(bench)
    bench.put_model("canary", "c2")
    bench.store.propose(THIRD)
    assert law_of(bench).rollout == 2


def test_a_step_is_law_and_document(bench: Bench) -> None:
    law = with_law(bench)
    stepped = law_of(bench, step=Step(on=law.epoch, canary=0.2))
    assert (stepped.canary, stepped.epoch, stepped.rollout) == (0.2, 2, 1)
    assert bench.split() == stepped.raw


def test_a_step_is_refused_on_another_epoch(bench: Bench) -> None:
    law = with_law(bench)
    assert isinstance(call(bench, step=Step(on=law.epoch + 1, canary=0.2)), StepRefused)
    assert bench.store.applied() == law


def test_a_step_waits_for_a_pending_edit(bench: Bench) -> None:
    law = with_law(bench)
    bench.store.propose(THIRD)
    reply = call(bench, step=Step(on=law.epoch, canary=0.2))
    assert reply == StepRefused("an edit of the split is pending")
    assert bench.split() == THIRD


def test_a_step_is_refused_under_a_latch(bench: Bench) -> None:
    with_law(bench)
    law = law_of(bench, rolled_back(1))
    assert call(bench, step=Step(on=law.epoch, canary=0.2)) == StepRefused("the latch of rollout 1 holds")


def test_a_promotion_needs_a_bound_version_with_a_share(bench: Bench) -> None:
    bench.store.propose(TENTH)
    law = law_of(bench)
    assert isinstance(call(bench, step=Step(on=law.epoch, promote=True)), StepRefused)


def test_a_stalled_caller_cannot_bring_an_old_split_back(bench: Bench) -> None:
    with_law(bench)
    bench.store.propose(THIRD)
    old = bench.store.look()
    bench.store.propose(NONE)
    assert bench.store.call(Knowledge(), old, now=1_000, who="test") == ReadAgain()
    assert law_of(bench).raw == NONE


def test_a_new_law_outnumbers_everything_known(bench: Bench) -> None:
    knowledge = Knowledge(newest=Law(epoch=2**52, registered=False), latch=2**40)
    law_of(bench, knowledge)
    bench.store.release(2**40)
    bench.store.propose(TENTH)
    law = law_of(bench, knowledge)
    assert (law.epoch, law.rollout) == (2**52 + 1, 2**40 + 1)


def test_a_weight_of_a_millionth_comes_back_exactly(bench: Bench) -> None:
    bench.store.propose(b'{"stable": 0.999999, "canary": 1e-6}')
    assert law_of(bench).canary == 1e-6


def test_a_lane_keeps_its_first_version(bench: Bench) -> None:
    bench.store.register_model("canary", "c1")
    bench.store.register_model("canary", "c1")
    with pytest.raises(ModelError, match="'c1', not 'c2'") as error:
        bench.store.register_model("canary", "c2")
    assert f"HSET {bench.route.key('models')} canary c2" in str(error.value)
    with pytest.raises(ModelError, match="empty"):
        bench.store.register_model("stable", "")
    assert bench.store.models() == Models(canary="c1")


def test_the_rollout_summary_is_kept(bench: Bench) -> None:
    bench.store.write_rollout_summary({"phase": "Manual"})
    bench.store.write_rollout_summary({"summary": "too few labels"})
    assert bench.store.rollout_summary() == {"phase": "Manual", "summary": "too few labels"}
