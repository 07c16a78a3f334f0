"""Kafka clients: their settings, and reads without a group."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, Protocol, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not export all that it documents
    AdminClient,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from stream_router.errors import SettingError, StreamRouterError, TopicError, UnreachableError
from stream_router.settings import Settings

Start = Literal["earliest", "latest"] | int
"""Where a group without offsets begins; a number is a time in milliseconds since the epoch."""

TIMEOUT: Final = 10.0
"""Seconds that a request to the brokers may take."""

ROOM: Final = 1_024
"""Bytes of a batch of one record that are not the record's own, with some to spare for headers that we add."""

_UNREACHABLE: Final = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE}  # noqa: SLF001 - librdkafka's own codes are spelt so


class Record(Protocol):
    """A fetched record: what the client's own type allows to be missing in a message yet to be sent is there."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes | None]] | None: ...
    def timestamp(self) -> tuple[int, int]: ...
    def error(self) -> KafkaError | None: ...


def fetch(consumer: Consumer, count: int, timeout: float) -> list[Record]:
    """Up to `count` records and events; waits `timeout` seconds where there are fewer."""
    return cast("list[Record]", consumer.consume(count, timeout))


def client_config(settings: Settings, defaults: Mapping[str, Any], contract: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of librdkafka: our defaults, then what the user passes through, then what a guarantee rests on."""
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": "stream-router",
        # librdkafka's own lines, not through Python's logging: a fatal error would break a callback of ours.
        "log_level": 2,
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
        raise SettingError(f"one of the kafka settings ({names}) is refused: {error.args[0].str()}") from None


def explain(error: KafkaException | KafkaError, settings: Settings, doing: str) -> StreamRouterError:
    """The error of our tree for one of librdkafka's."""
    cause = error.args[0] if isinstance(error, KafkaException) else error
    if cause.code() in _UNREACHABLE:
        return UnreachableError(f"Kafka at {settings.bootstrap_servers} does not answer while {doing}: {cause.str()}")
    if cause.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION):  # noqa: SLF001 - as above
        return TopicError(f"{cause.str()} while {doing}: create the route's topics with 'stream-router topics apply'")
    return StreamRouterError(f"{cause.name()} while {doing}: {cause.str()}")


def partition_count(settings: Settings, topic: str) -> int:
    """Raises TopicError if the topic is missing, UnreachableError if no broker answers."""
    try:
        found = admin(settings).list_topics(topic, TIMEOUT).topics[topic]
    except KafkaException as error:
        raise explain(error, settings, f"looking up topic {topic}") from error
    if found.error is not None:
        raise TopicError(f"topic {topic} does not exist: create it with 'stream-router topics apply'")
    return len(found.partitions)


def topic_config(settings: Settings, topic: str) -> dict[str, str]:
    """The configuration in force of an existing topic."""
    resource, client = ConfigResource(ResourceType.TOPIC, topic), admin(settings)
    try:
        entries = client.describe_configs([resource], request_timeout=TIMEOUT)[resource].result()
    except KafkaException as error:
        raise explain(error, settings, f"reading the configuration of topic {topic}") from error
    return {name: entry.value for name, entry in entries.items()}


def largest_message(settings: Settings, topic: str) -> int:
    """Bytes of key, value and headers that the topic surely takes in one record."""
    return int(topic_config(settings, topic)["max.message.bytes"]) - ROOM


def stable_ends(settings: Settings, topic: str, partitions: int) -> dict[int, int]:
    """Last stable offset of each partition: every record before it is committed or aborted."""
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # likewise
    wanted = {TopicPartition(topic, partition): latest for partition in range(partitions)}
    client = admin(settings)
    try:
        answers = client.list_offsets(wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=TIMEOUT)
        return {asked.partition: answer.result().offset for asked, answer in answers.items()}
    except KafkaException as error:
        raise explain(error, settings, f"asking for the ends of topic {topic}") from error


def begin_offsets(
    consumer: Consumer, partitions: list[TopicPartition], start: Start, chosen: dict[int, int]
) -> list[TopicPartition]:
    """The group's offsets of the partitions; where it has none, those that `start` names.

    `chosen` (partition to offset) keeps what `start` was found to mean: asked again before the first commit, "latest"
    would step over what came meanwhile. Raises KafkaException.
    """
    places = committed_offsets(consumer, partitions)
    for place in places:
        if place.offset < 0:
            if place.partition not in chosen:
                chosen[place.partition] = _start_offset(consumer, place, start)
            place.offset = chosen[place.partition]
        else:
            chosen.pop(place.partition, None)
    return places


def committed_offsets(consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
    """The group's offsets; waits for the end of a transaction that a dead member left open. Raises KafkaException."""
    for patience in (TIMEOUT, TIMEOUT, TIMEOUT):
        try:
            return consumer.committed(partitions, patience)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._TIMED_OUT:  # noqa: SLF001 - as above
                raise
            timed_out = error
    raise timed_out


def _start_offset(consumer: Consumer, place: TopicPartition, start: Start) -> int:
    low, high = consumer.get_watermark_offsets(TopicPartition(place.topic, place.partition), TIMEOUT)
    if not isinstance(start, int):
        return low if start == "earliest" else high
    # After the end was asked for: what comes between the two is not stepped over.
    at_time = consumer.offsets_for_times([TopicPartition(place.topic, place.partition, start)], TIMEOUT)[0].offset
    return at_time if at_time >= 0 else high


class Follower:
    """Reads a topic of one partition from its beginning, again and again to its end."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings, self._topic = settings, topic
        self._consumer = reader(settings)
        self._consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        self._next = 0

    def read_to_end(self) -> Iterator[Record]:
        """Yields what is new up to the end as it is now. Raises UnreachableError, TopicError."""
        try:
            end = self._consumer.get_watermark_offsets(TopicPartition(self._topic, 0), TIMEOUT)[1]
            deadline = time.monotonic() + TIMEOUT
            while self._next < end:
                if time.monotonic() > deadline:
                    raise UnreachableError(f"topic {self._topic} cannot be read to its end {end} from {self._next}")
                for message in fetch(self._consumer, 1000, 0.05):
                    deadline = time.monotonic() + TIMEOUT
                    error = message.error()
                    if error is None:
                        self._next = message.offset() + 1
                        yield message
                    elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - as above
                        self._next = max(
                            self._next, message.offset()
                        )  # past transaction markers, which no record shows
                    elif not error.retriable() and error.code() not in _UNREACHABLE:
                        raise explain(error, self._settings, f"reading topic {self._topic}")
        except KafkaException as error:
            raise explain(error, self._settings, f"reading topic {self._topic}") from error

    def close(self) -> None:
        self._consumer.close()


def has_records(settings: Settings, topic: str, spans: Mapping[int, tuple[int, int]]) -> bool:
    """Whether any partition holds a committed record in its span [from, to) of offsets: lag cannot tell, since a
    transaction's end marker keeps the lag of a finished partition at 1 or more.
    """
    open_ = {partition: span for partition, span in spans.items() if span[0] < span[1]}
    if not open_:
        return False
    consumer = reader(settings)
    try:
        consumer.assign([TopicPartition(topic, partition, span[0]) for partition, span in open_.items()])
        deadline = time.monotonic() + TIMEOUT
        while open_:
            if time.monotonic() > deadline:
                raise UnreachableError(
                    f"topic {topic} cannot be read to its end: partitions {sorted(open_)} do not answer"
                )
            for message in fetch(consumer, 100, 0.1):
                partition, error = message.partition(), message.error()
                if error is None:
                    if partition in open_ and message.offset() < open_[partition][1]:
                        return True
                    open_.pop(partition, None)
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - as above
                    open_.pop(partition, None)
                elif not error.retriable() and error.code() not in _UNREACHABLE:
                    raise explain(error, settings, f"reading topic {topic}")
        return False
    finally:
        consumer.close()
