"""Kafka clients: their settings, and what is asked of the brokers about topics."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not export all that it documents
    AdminClient,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from stream_router.adapters.kafka.failures import cause_of, explaining
from stream_router.core.lane import LANES
from stream_router.core.route import Route
from stream_router.errors import SettingError, StreamRouterError, TopicError
from stream_router.settings import Settings, is_secret

Client = TypeVar("Client", Consumer, Producer, AdminClient)

TIMEOUT: Final = 10.0
"""Seconds that a request to the brokers may take."""

ROOM: Final = 1_024
"""Bytes of a batch of one record that are not the record's own, with some to spare for headers that we add."""


class Retention(NamedTuple):
    """After how many milliseconds, and beyond how many bytes of a partition, records may be deleted; None: never."""

    age: int | None
    size: int | None


_FORBIDDEN: Final = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)

RESERVED: Final[Mapping[str, tuple[str | None, str]]] = {
    "bootstrap.servers": (None, "the brokers are the setting bootstrap_servers"),
    "metadata.broker.list": (None, "the brokers are the setting bootstrap_servers"),
    "group.id": (None, "groups are named by the route"),
    "group.instance.id": (None, "a process is named by --instance"),
    "group.protocol": ("classic", "the groups have session timeouts and assignors of their own"),
    "partition.assignment.strategy": (None, "each group has the one that its processes are made for"),
    "transactional.id": (None, "it is made of the route and --instance, so that Kafka shuts out a predecessor"),
    "enable.idempotence": ("true", "nothing may be written twice"),
    "partitioner": ("murmur2_random", "every client has to find the same partition for a key"),
    "isolation.level": ("read_committed", "what was aborted must not count"),
    "enable.auto.commit": ("false", "offsets are committed with what was made of their records"),
    "auto.offset.reset": ("error", "a gap has to be seen, and --from says where a group begins"),
    "error_cb": (None, "the processes hear of outages by it"),
    "logger": (None, "log lines have the settings log_format and log_level"),
}
"""Settings of librdkafka that a guarantee rests on: the only value that they may be given, if any, and why."""


def client_config(settings: Settings, defaults: Mapping[str, Any], contract: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of librdkafka: our defaults, then what the user passes through, then what a guarantee rests on.

    Raises SettingError where the user passes one of RESERVED.
    """
    for name in settings.kafka.keys() & RESERVED.keys():
        value, (allowed, why) = settings.kafka[name], RESERVED[name]
        if allowed is None or value.lower() != allowed:
            only = "" if allowed is None else f" or set it to {allowed!r}"
            raise SettingError(f"kafka setting {name} is {value!r}, but {why}: take it out{only}")
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


def session(settings: Settings, timeout: int, heartbeat: int) -> dict[str, int]:
    """Timeout and heartbeat of a group's member, in ms: the user's, else these.

    Raises SettingError where a session would end between two heartbeats.
    """
    found = {}
    for name, default in (("session.timeout.ms", timeout), ("heartbeat.interval.ms", heartbeat)):
        given = settings.kafka.get(name, str(default))
        if not given.isdecimal():
            raise SettingError(f"kafka setting {name} is {given!r}: give whole milliseconds")
        found[name] = int(given)
    if found["heartbeat.interval.ms"] >= found["session.timeout.ms"]:
        shown = " and ".join(
            f"{name} is {ms}{'' if name in settings.kafka else ' (ours)'}" for name, ms in found.items()
        )
        raise SettingError(
            f"kafka settings: {shown}, so a session would end between two heartbeats: set heartbeat.interval.ms to at "
            "most a third of session.timeout.ms"
        )
    return found


def consumer_for(settings: Settings, defaults: Mapping[str, Any], contract: Mapping[str, Any]) -> Consumer:
    """Raises SettingError for client settings that librdkafka refuses; so do all that make clients."""
    return _client(Consumer, settings, client_config(settings, defaults, contract))


def producer_for(settings: Settings, defaults: Mapping[str, Any], contract: Mapping[str, Any]) -> Producer:
    return _client(Producer, settings, client_config(settings, defaults, contract))


def admin(settings: Settings) -> AdminClient:
    """Keep it in a variable: its requests end with it."""
    return _client(AdminClient, settings, client_config(settings, {}, {}))


def reader(settings: Settings, group: str = "stream-router.reader", fetch_wait: int = 20) -> Consumer:
    """A consumer of committed records that joins no group and commits nothing.

    `fetch_wait`: milliseconds that a fetch waits for records. It holds back what is asked on the same connection, such
    as the ends of a topic.
    """
    contract = {
        "group.id": group,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
    }
    return consumer_for(settings, {"fetch.queue.backoff.ms": 10, "fetch.wait.max.ms": fetch_wait}, contract)


def _client(kind: Callable[[dict[str, Any]], Client], settings: Settings, config: dict[str, Any]) -> Client:
    try:
        return kind(config)
    except (KafkaException, TypeError, ValueError) as error:
        said = cause_of(error).str().strip() if isinstance(error, KafkaException) else str(error)
        raise SettingError(_refusal(said, settings, config)) from None


def _refusal(said: str, settings: Settings, config: Mapping[str, Any]) -> str:
    """Names the user's settings that librdkafka speaks of, where it does, and the values of ours that it names."""

    def shown(names: Iterable[str]) -> str:
        return ", ".join(f"{name}={'(hidden)' if is_secret(name) else config[name]}" for name in names)

    named = set(re.findall(r"[a-z]+(?:[._][a-z]+)+", said))
    theirs = [name for name in settings.kafka if name in named]
    ours = [name for name in config if name in named and name not in settings.kafka]
    if not settings.kafka:
        return f"Kafka's client refuses its settings: {said}"
    which = f"kafka setting {shown(theirs)}" if theirs else f"one of the kafka settings ({', '.join(settings.kafka)})"
    beside = f" (with {shown(ours)})" if theirs and ours else ""
    return f"{which} is refused: {said}{beside}; change it or take it out"


def partition_count(settings: Settings, topic: str) -> int:
    """Raises TopicError if the topic is missing, UnreachableError if no broker answers."""
    with explaining(settings, f"looking up topic {topic}"):
        found = admin(settings).list_topics(topic, TIMEOUT).topics[topic]
    if found.error is not None:
        raise TopicError(f"topic {topic} does not exist: create it with 'stream-router topics apply'")
    return len(found.partitions)


def topic_ids(settings: Settings, topics: list[str]) -> dict[str, str]:
    """The ids that the brokers gave the topics when they were made. Raises TopicError, UnreachableError."""
    client = admin(settings)
    with explaining(settings, f"looking up topics {', '.join(topics)}"):
        answers = client.describe_topics(TopicCollection(topics), request_timeout=TIMEOUT)
        return {name: str(answer.result().topic_id) for name, answer in answers.items()}


def lane_partition_count(settings: Settings, route: Route) -> int:
    """The partitions of the request topic and of each lane. Raises TopicError where these differ, UnreachableError."""
    requests = route.topic("requests")
    wanted = partition_count(settings, requests)
    for lane in LANES:
        if (found := partition_count(settings, topic := route.lane_topic(lane))) != wanted:
            raise TopicError(
                f"topic {topic} has {found} partitions and {requests} has {wanted}: the lanes keep the partition of "
                "each request, so give them as many partitions"
            )
    return wanted


def topic_config(settings: Settings, topic: str) -> dict[str, str]:
    """The configuration in force of an existing topic."""
    resource, client = ConfigResource(ResourceType.TOPIC, topic), admin(settings)
    with explaining(settings, f"reading the configuration of topic {topic}"):
        entries = client.describe_configs([resource], request_timeout=TIMEOUT)[resource].result()
    return {name: entry.value for name, entry in entries.items()}


def retention(settings: Settings, topic: str) -> Retention:
    """Raises TopicError, UnreachableError, and what `forbids` knows where the brokers do not tell us."""
    config = topic_config(settings, topic)
    if "delete" not in config["cleanup.policy"]:
        return Retention(None, None)
    age, size = (int(config[name]) for name in ("retention.ms", "retention.bytes"))
    return Retention(None if age < 0 else age, None if size < 0 else size)


def forbids(error: StreamRouterError) -> bool:
    """Whether the brokers answered that our user may not ask this."""
    cause = error.__cause__
    return isinstance(cause, KafkaException) and cause_of(cause).code() in _FORBIDDEN


def largest_message(settings: Settings, topic: str) -> int:
    """Bytes of key, value and headers that the topic surely takes in one record."""
    return int(topic_config(settings, topic)["max.message.bytes"]) - ROOM


def stable_ends(settings: Settings, topic: str, partitions: int) -> dict[int, int]:
    """Last stable offset of each partition: every record before it is committed or aborted."""
    return _ends(settings, topic, partitions, IsolationLevel.READ_COMMITTED)


def written_ends(settings: Settings, topic: str, partitions: int) -> dict[int, int]:
    """End of each partition, open transactions included."""
    return _ends(settings, topic, partitions, IsolationLevel.READ_UNCOMMITTED)


def _ends(settings: Settings, topic: str, partitions: int, isolation: IsolationLevel) -> dict[int, int]:
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # likewise
    wanted = {TopicPartition(topic, partition): latest for partition in range(partitions)}
    client = admin(settings)
    with explaining(settings, f"asking for the ends of topic {topic}"):
        answers = client.list_offsets(wanted, isolation_level=isolation, request_timeout=TIMEOUT)
        return {asked.partition: answer.result().offset for asked, answer in answers.items()}
