"""The consumer and the producer of the loop: their settings."""

from typing import Any, Final

from confluent_kafka import Consumer

from stream_router.adapters.kafka.clients import consumer_for, session
from stream_router.adapters.kafka.handler import LoopConfig
from stream_router.adapters.kafka.held_output import HeldOutput
from stream_router.adapters.kafka.producers import AtLeastOnceProducer, LoopProducer, OnError, TransactionalProducer
from stream_router.settings import Settings

_LINGER: Final = 5
"""Milliseconds for batches to fill."""

_FETCH: Final = 2 * 2**20
"""Bytes, compressed, of a fetch. What waits takes several times that in memory."""


def loop_producer(settings: Settings, config: LoopConfig, on_error: OnError) -> LoopProducer:
    """Of the delivery that is configured; `on_error` as error_cb. Raises SettingError."""
    if config.delivery == "at-least-once":
        return AtLeastOnceProducer(
            settings, linger=_LINGER, max_message_bytes=config.max_message_bytes, on_error=on_error
        )
    producer = TransactionalProducer(
        settings,
        f"{config.group}.{config.instance}",
        linger=_LINGER,
        max_message_bytes=config.max_message_bytes,
        on_error=on_error,
    )
    return HeldOutput(producer) if config.slow else producer


def loop_consumer(settings: Settings, config: LoopConfig, on_error: OnError) -> Consumer:
    """Of the group; `on_error` as error_cb. Raises SettingError."""
    defaults: dict[str, Any] = {
        **session(settings, 10_000, 1_000),
        "fetch.queue.backoff.ms": 10,
        "queued.min.messages": 100_000,
        "queued.max.messages.kbytes": 8_192,  # a fetch begins while less waits, and then all that it brings waits, too
    }
    if "message.max.bytes" not in settings.kafka:  # a fetch may not be smaller than a message
        defaults["fetch.max.bytes"] = _FETCH
    if config.static_member:
        defaults["group.instance.id"] = config.instance
    contract = {
        "group.id": config.group,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "partition.assignment.strategy": "cooperative-sticky",
        "error_cb": on_error,
    }
    return consumer_for(settings, defaults, contract)
