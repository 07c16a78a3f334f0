"""What only a real server can show: errors, protocols, keys as operators read them."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest
import redis
from redis.crc import key_slot
from structlog.testing import capture_logs
from support.ports import free_port
from support.split_acts import TENTH, THIRD, applied_of, happened, rolled_back, with_split
from support.split_benches import ValkeyBench
from support.status import STATUS, TRIAL
from support.valkey import valkey_server

from stream_router.adapters.redis.store import KEYS, RedisSplitStore
from stream_router.core.route import RedisKey, Route
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.control_view import ControlView
from stream_router.core.routing.split_store import Refusal
from stream_router.errors import KeyContentError, SettingError, UnreachableError
from stream_router.settings import Settings


def test_all_keys_of_a_route_share_a_cluster_slot() -> None:
    route = Route("flights")
    assert len({key_slot(route.key(key).encode()) for key in (*KEYS, "rollout")}) == 1


def test_an_operator_can_read_the_hashes(valkey_url: str, new_route: Callable[[], Route]) -> None:
    bench = ValkeyBench(new_route(), valkey_url)
    with_split(bench)
    applied_of(bench, rolled_back(1))
    bench.store.propose(b"10%")
    applied_of(bench, rolled_back(1))
    bench.store.write_status(replace(STATUS, trial=TRIAL))
    keys: tuple[RedisKey, ...] = ("applied", "rejected", "latch", "rollout")
    hashes = {key: set(bench.client.hgetall(bench.route.key(key))) for key in keys}
    assert hashes["applied"] >= {b"raw", b"digest", b"epoch", b"canary", b"rollout", b"time", b"who", b"why"}
    assert hashes["applied"] >= {b"stable_version", b"canary_version"}
    assert hashes["rejected"] == {b"type", b"raw", b"digest", b"why", b"code", b"time"}
    assert hashes["latch"] == {b"rollout", b"reason", b"time", b"state", b"command"}
    assert hashes["rollout"] >= {
        b"phase",
        b"rollout",
        b"epoch",
        b"canary_weight",
        b"window",
        b"label_horizon",
        b"alpha",
    }
    assert hashes["rollout"] >= {b"verdict", b"metric", b"evidence", b"threshold", b"blocks", b"unripe", b"summary"}
    assert hashes["rollout"] >= {b"stable_labels", b"stable_bad", b"canary_labels", b"canary_bad"}
    bench.store.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_both_protocols_read_alike(valkey_url: str, new_route: Callable[[], Route], protocol: int) -> None:
    store = RedisSplitStore(new_route(), _settings(valkey_url, protocol=protocol))
    store.propose(TENTH)
    applied = store.call(ControlView(), store.look(), now=1, who="test")
    assert applied == store.applied()
    assert [entry["what"] for entry in store.history(5)] == ["applied"]
    store.close()


def test_a_server_that_is_away_is_unreachable_and_its_password_hidden(new_route: Callable[[], Route]) -> None:
    address = f"127.0.0.1:{free_port()}"
    store = RedisSplitStore(new_route(), _settings(f"redis://user:hunter2@{address}"))
    with pytest.raises(UnreachableError) as error:
        store.look()
    assert "hunter2" not in str(error.value)
    assert address in str(error.value)


def test_a_server_that_hangs_is_unreachable(new_route: Callable[[], Route]) -> None:
    with valkey_server() as url:
        store = RedisSplitStore(new_route(), _settings(url))
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
    with valkey_server() as url:
        bench = ValkeyBench(new_route(), url)
        applied = with_split(bench)
        bench.store.propose(THIRD)
        seen = bench.store.look()
        for name, value in configuration.items():
            bench.client.config_set(name, value)
        with pytest.raises(UnreachableError):
            bench.store.call(ControlView(latch=1), seen, now=1, who="test")
        assert bench.store.applied() == applied
        bench.store.close()


def test_a_split_that_the_script_did_not_write_needs_a_person_who_is_told_the_command(
    valkey_url: str,
    new_route: Callable[[], Route],
) -> None:
    bench = ValkeyBench(new_route(), valkey_url)
    with_split(bench)
    bench.client.hset(bench.route.key("applied"), "canary", "7")
    with pytest.raises(KeyContentError, match=r"redis-cli DEL '.*:applied'") as raised:
        applied_of(bench)
    assert (raised.value.exit_code, raised.value.restart_mends) == (1, False)
    assert isinstance(raised.value, UnreachableError), "a router goes on as if Redis were away"
    bench.store.close()


@pytest.mark.parametrize(("url", "options"), [("http://nowhere", {}), ("redis://127.0.0.1", {"no_such_option": 1})])
def test_a_setting_that_the_client_refuses_is_named(url: str, options: dict[str, object]) -> None:
    with pytest.raises(SettingError, match="redis_url"):
        RedisSplitStore(Route("flights"), _settings(url, **options))


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2/hunter2@host",
        "redis://host/0?password=hunter2&no_such_option=1",
        "redis://:hunter2\u2100@host",
        "http://host/0?password=hunter2",
    ],
)
def test_a_password_is_not_in_a_refusal(url: str) -> None:
    with pytest.raises(SettingError, match="redis_url") as refused:
        RedisSplitStore(Route("flights"), _settings(url))
    assert "hunter2" not in str(refused.value)


def test_a_password_is_not_said_where_the_server_is_away() -> None:
    store = RedisSplitStore(Route("flights"), _settings("redis://127.0.0.1:1/0?password=hunter2"))
    with pytest.raises(UnreachableError, match=r"redis://127\.0\.0\.1:1/0\?\(hidden\)") as away:
        store.applied()
    assert "hunter2" not in str(away.value)


def test_a_forgotten_script_is_loaded_again(valkey_url: str, new_route: Callable[[], Route]) -> None:
    bench = ValkeyBench(new_route(), valkey_url)
    with_split(bench)
    redis.Redis.from_url(valkey_url).script_flush()
    assert applied_of(bench).raw == TENTH
    bench.store.close()


def test_a_lane_misspelt_in_the_models_is_shown_once_and_left_alone(
    valkey_url: str, new_route: Callable[[], Route]
) -> None:
    bench = ValkeyBench(new_route(), valkey_url)
    applied = with_split(bench)
    bench.put_model("canry", "9")
    with capture_logs() as logs:
        for _ in range(3):
            assert applied_of(bench) == applied
    (line,) = logs
    assert (line["log_level"], line["field"], line["key"]) == ("warning", "canry", bench.route.key("models"))
    assert happened(bench) == ["applied", "unknown model"]
    assert f"HDEL {bench.route.key('models')} canry" in bench.store.history(1)[0]["why"]
    bench.store.propose(THIRD)
    applied_of(bench)
    assert happened(bench) == ["applied", "unknown model", "applied"]
    assert bench.client.hget(bench.route.key("models"), "canry") == b"9"
    for what in ("hdel", "hset"):
        getattr(bench.client, what)(bench.route.key("models"), "canry", *["9"] * (what == "hset"))
        applied_of(bench)
    assert happened(bench)[-2:] == ["applied", "unknown model"], "who makes the mistake again is told again"
    bench.store.close()


def _settings(url: str, **options: object) -> Settings:
    return Settings(redis_url=url, redis=options)  # type: ignore[arg-type]


def test_foreign_content_in_rejected_does_not_stop_the_script(valkey_url: str, new_route: Callable[[], Route]) -> None:
    bench = ValkeyBench(new_route(), valkey_url)
    bench.client.hset(bench.route.key("rejected"), "code", "nonsense")
    bench.store.propose(TENTH)
    told = list[Refusal | None]()
    reply = bench.store.call(ControlView(), bench.store.look(), now=1, who="test", on_rejected=told.append)
    assert isinstance(reply, AppliedSplit)
    assert (reply.raw, told) == (TENTH, [])
    bench.store.close()
