"""Kafka clients: their settings, and what is asked of the brokers about topics."""

from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not export all that it documents
    AdminClient,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from stream_router.adapters.kafka.failures import cause_of, explaining
from stream_router.errors import SettingError, TopicError
from stream_router.settings import Settings

TIMEOUT: Final = 10.0
"""Seconds that a request to the brokers may take."""

ROOM: Final = 1_024
"""Bytes of a batch of one record that are not the record's own, with some to spare for headers that we add."""


def client_config(settings: Settings, defaults: Mapping[str, Any], contract: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of librdkafka: our defaults, then what the user passes through, then what a guarantee rests on."""
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": "stream-router",
        # librdkafka's own lines, not through Python's logging: a fatal error would break a callback of ours.
        "log_level": 2,
        # By its default a broker that is back is found up to 10 s later.
        "reconnect.backoff.max.ms": 1_000,
        **defaults,
        **settings.kafka,
        **contract,
    }


def reader(settings: Settings, group: str = "stream-router.reader") -> Consumer:
    """A consumer of committed records that joins no group and commits nothing."""
    contract = {
        "group.id": group,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
    }
    # A fetch that waits for records holds back what is asked on the same connection: the ends of the topic.
    return Consumer(client_config(settings, {"fetch.queue.backoff.ms": 10, "fetch.wait.max.ms": 20}, contract))


def admin(settings: Settings) -> AdminClient:
    """Keep it in a variable: its requests end with it. Raises SettingError for a client setting that is none."""
    try:
        return AdminClient(client_config(settings, {}, {}))
    except KafkaException as error:
        names = ", ".join(settings.kafka)
        raise SettingError(f"one of the kafka settings ({names}) is refused: {cause_of(error).str()}") from None


def partition_count(settings: Settings, topic: str) -> int:
    """Raises TopicError if the topic is missing, UnreachableError if no broker answers."""
    with explaining(settings, f"looking up topic {topic}"):
        found = admin(settings).list_topics(topic, TIMEOUT).topics[topic]
    if found.error is not None:
        raise TopicError(f"topic {topic} does not exist: create it with 'stream-router topics apply'")
    return len(found.partitions)


def topic_config(settings: Settings, topic: str) -> dict[str, str]:
    """The configuration in force of an existing topic."""
    resource, client = ConfigResource(ResourceType.TOPIC, topic), admin(settings)
    with explaining(settings, f"reading the configuration of topic {topic}"):
        entries = client.describe_configs([resource], request_timeout=TIMEOUT)[resource].result()
    return {name: entry.value for name, entry in entries.items()}


def largest_message(settings: Settings, topic: str) -> int:
    """Bytes of key, value and headers that the topic surely takes in one record."""
    return int(topic_config(settings, topic)["max.message.bytes"]) - ROOM


def stable_ends(settings: Settings, topic: str, partitions: int) -> dict[int, int]:
    """Last stable offset of each partition: every record before it is committed or aborted."""
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # likewise
    wanted = {TopicPartition(topic, partition): latest for partition in range(partitions)}
    client = admin(settings)
    with explaining(settings, f"asking for the ends of topic {topic}"):
        answers = client.list_offsets(wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=TIMEOUT)
        return {asked.partition: answer.result().offset for asked, answer in answers.items()}
