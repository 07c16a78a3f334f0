"""The steps of a script for ScriptedKafka: what one call of a client meets."""

from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message
from support.scripted_kafka import ScriptedConsumer, Step, kafka_error

Action = Callable[[ScriptedConsumer], None]


def fails(code: int, *, fatal: bool = False, retriable: bool = False) -> Step:
    """The call does nothing and raises."""

    def step(_client: Any, _call: Callable[[], Any]) -> Any:
        raise KafkaException(kafka_error(code, fatal=fatal, retriable=retriable))

    return step


def passes(_client: Any, call: Callable[[], Any]) -> Any:
    """The call as it is."""
    return call()


def brings_nothing(_client: Any, _call: Callable[[], Any]) -> list[Message]:
    """A poll that comes back empty."""
    return []


def event(code: int, *, fatal: bool = False) -> Step:
    """A poll that brings an error before its records."""
    return event_of(kafka_error(code, fatal=fatal))


def event_of(error: KafkaError) -> Step:
    return lambda _client, call: [Message("", 0, 0, error=error), *call()]


def first(*actions: Action) -> Step:
    """A poll in which the group does this before records are fetched."""

    def step(client: ScriptedConsumer, call: Callable[[], Any]) -> Any:
        for action in actions:
            action(client)
        return call()

    return step


def meanwhile(*actions: Action) -> Step:
    """A poll in which the group does this when the records to be returned have been fetched already."""

    def step(client: ScriptedConsumer, call: Callable[[], Any]) -> Any:
        fetched = call()
        for action in actions:
            action(client)
        return fetched

    return step


def assigned(*partitions: int) -> Action:
    return lambda client: client.rebalance("on_assign", partitions)


def revoked(*partitions: int) -> Action:
    return lambda client: client.rebalance("on_revoke", partitions)


def lost(*partitions: int) -> Action:
    return lambda client: client.rebalance("on_lost", partitions)
