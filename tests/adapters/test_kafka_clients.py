"""Client settings that cannot be used: refused by name, before any work, whichever client refuses them."""

import re

import pytest
from support.loops import Copy, loop_config

from stream_router.adapters.kafka.clients import RESERVED, admin, consumer_for, producer_for, reader
from stream_router.adapters.kafka.controller_log import ControllerLog
from stream_router.adapters.kafka.loop import TransactionLoop
from stream_router.adapters.kafka.producers import AtLeastOnceProducer, TransactionalProducer
from stream_router.core.route import Route
from stream_router.errors import SettingError
from stream_router.processes.monitor import build_app
from stream_router.settings import Settings

GROUP = {"group.id": "g"}


def given(**kafka: str) -> Settings:
    """Settings of librdkafka, with _ for the dots in their names."""
    return Settings(
        bootstrap_servers="127.0.0.1:1", kafka={name.replace("_", "."): value for name, value in kafka.items()}
    )


CLIENTS = {
    "admin": admin,
    "reader": reader,
    "consumer": lambda settings: consumer_for(settings, {}, GROUP),
    "producer": lambda settings: producer_for(settings, {}, {}),
    "transactional": lambda settings: TransactionalProducer(settings, "t"),
    "at least once": AtLeastOnceProducer,
    "loop": lambda settings: TransactionLoop(settings, loop_config(), Copy()),
    "controller": lambda settings: ControllerLog(settings, Route("r")),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("kafka", "said"),
    [
        ({"no.such.thing": "1"}, ["no.such.thing=1", "No such configuration property", "take it out"]),
        ({"queue.buffering.max.ms": "abc"}, ["queue.buffering.max.ms=abc", "Invalid value"]),
        ({"client.id": "me", "linger.ms": "abc"}, ["(client.id, linger.ms)", "queue.buffering.max.ms"]),
        ({"stats_cb": "x"}, ["stats_cb=x", "callable"]),
        (
            {"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN", "sasl.password": "hunter2"},
            ["sasl.password=(hidden)", "sasl.username and sasl.password must be set"],
        ),
    ],
)
def test_every_client_refuses_by_name(client, kafka, said):
    with pytest.raises(SettingError) as refused:
        CLIENTS[client](Settings(bootstrap_servers="127.0.0.1:1", kafka=kafka))
    assert refused.value.exit_code == 2
    assert "hunter2" not in str(refused.value)
    for part in said:
        assert part in str(refused.value)


@pytest.mark.parametrize(
    ("client", "kafka", "said"),
    [
        (
            "transactional",
            {"message_timeout_ms": "30000"},
            ["message.timeout.ms=30000", "transaction.timeout.ms=10000"],
        ),
        ("loop", {"message_timeout_ms": "30000"}, ["message.timeout.ms=30000", "transaction.timeout.ms=10000"]),
        ("loop", {"session_timeout_ms": "400000"}, ["session.timeout.ms=400000", "max.poll.interval.ms"]),
        ("controller", {"session_timeout_ms": "400000"}, ["session.timeout.ms=400000", "max.poll.interval.ms"]),
        ("at least once", {"acks": "1"}, ["acks", "enable.idempotence"]),
        ("reader", {"fetch_max_bytes": "1000"}, ["fetch.max.bytes=1000", "message.max.bytes"]),
    ],
)
def test_what_only_one_kind_of_client_refuses_is_named_with_what_it_does_not_go_with(client, kafka, said):
    with pytest.raises(SettingError) as refused:
        CLIENTS[client](given(**kafka))
    for part in said:
        assert part in str(refused.value)


@pytest.mark.parametrize(
    "kafka",
    [
        {"message_max_bytes": "20000000"},
        {"message_max_bytes": "20000000", "fetch_max_bytes": "20000000"},
        {"queued_max_messages_kbytes": "100"},
    ],
)
def test_the_loop_takes_other_sizes_than_its_own(kafka):
    CLIENTS["loop"](given(**kafka))


MEMBERS = {
    "loop": CLIENTS["loop"],
    "controller": CLIENTS["controller"],
    "monitor": lambda settings: build_app(settings, Route("r")),
}


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize(
    ("kafka", "said"),
    [
        (
            {"session_timeout_ms": "3000", "heartbeat_interval_ms": "3000"},
            ["session.timeout.ms is 3000", "heartbeat.interval.ms is 3000 "],
        ),
        ({"session_timeout_ms": "400"}, ["session.timeout.ms is 400", "heartbeat.interval.ms is .*00 .ours.*"]),
        ({"heartbeat_interval_ms": "10000"}, ["heartbeat.interval.ms is 10000", "session.timeout.ms is .*000 .ours."]),
    ],
)
def test_a_session_that_would_end_between_two_heartbeats_is_refused(member, kafka, said):
    with pytest.raises(SettingError, match="at most a third") as refused:
        MEMBERS[member](given(**kafka))
    for part in said:
        assert re.search(part.strip(), str(refused.value))


@pytest.mark.parametrize("name", RESERVED)
def test_what_a_guarantee_rests_on_is_no_setting_of_the_users(name):
    for client in CLIENTS.values():
        with pytest.raises(SettingError, match=rf"kafka setting {name} is 'other', but .*: take it out"):
            client(Settings(bootstrap_servers="127.0.0.1:1", kafka={name: "other"}))


@pytest.mark.parametrize("client", ["admin", "consumer", "producer"])
def test_a_guarantee_may_be_written_out(client):
    allowed = {name: value for name, (value, _) in RESERVED.items() if value is not None}
    assert CLIENTS[client](Settings(bootstrap_servers="127.0.0.1:1", kafka=allowed)) is not None
