"""What an error of librdkafka means: one table for every client, and the error of our tree for it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum, auto
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from stream_router.errors import (
    FencedError,
    GapError,
    SettingError,
    StreamRouterError,
    TopicError,
    UnreachableError,
)
from stream_router.settings import Settings


class Failure(Enum):
    """PASSES: librdkafka mends it by itself, what was asked is asked again. EXPELLED: the group has gone on without its
    member, which librdkafka lets join again; what was read is read again by whom it belongs to then. All others end
    what was going on.
    """

    PASSES = auto()
    EXPELLED = auto()
    FENCED = auto()
    GAP = auto()
    MISSING_TOPIC = auto()
    REFUSED_SESSION = auto()
    FINAL = auto()


# ruff: noqa: SLF001 - librdkafka's own codes are spelt so
_TABLE: Final[Mapping[int, Failure]] = {
    KafkaError._TRANSPORT: Failure.PASSES,
    KafkaError._ALL_BROKERS_DOWN: Failure.PASSES,
    KafkaError._TIMED_OUT: Failure.PASSES,
    KafkaError._TIMED_OUT_QUEUE: Failure.PASSES,
    KafkaError._MSG_TIMED_OUT: Failure.PASSES,
    KafkaError._RESOLVE: Failure.PASSES,
    KafkaError._DESTROY_BROKER: Failure.PASSES,
    # A follower's answer until it knows of its leadership, and a partition that the metadata does not name yet.
    KafkaError._UNKNOWN_PARTITION: Failure.PASSES,
    # A leader that moves, a coordinator that loads, a broker whose disk fails: another one takes its place.
    KafkaError._WAIT_COORD: Failure.PASSES,
    KafkaError.LEADER_NOT_AVAILABLE: Failure.PASSES,
    KafkaError.NOT_LEADER_FOR_PARTITION: Failure.PASSES,
    KafkaError.FENCED_LEADER_EPOCH: Failure.PASSES,
    KafkaError.UNKNOWN_LEADER_EPOCH: Failure.PASSES,
    KafkaError.OFFSET_NOT_AVAILABLE: Failure.PASSES,
    KafkaError.BROKER_NOT_AVAILABLE: Failure.PASSES,
    KafkaError.REPLICA_NOT_AVAILABLE: Failure.PASSES,
    KafkaError.LISTENER_NOT_FOUND: Failure.PASSES,
    KafkaError.KAFKA_STORAGE_ERROR: Failure.PASSES,
    KafkaError.NOT_ENOUGH_REPLICAS: Failure.PASSES,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND: Failure.PASSES,
    KafkaError.REQUEST_TIMED_OUT: Failure.PASSES,
    KafkaError.NETWORK_EXCEPTION: Failure.PASSES,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS: Failure.PASSES,
    KafkaError.COORDINATOR_NOT_AVAILABLE: Failure.PASSES,
    KafkaError.NOT_COORDINATOR: Failure.PASSES,
    KafkaError.ILLEGAL_GENERATION: Failure.EXPELLED,
    KafkaError.UNKNOWN_MEMBER_ID: Failure.EXPELLED,
    KafkaError.REBALANCE_IN_PROGRESS: Failure.EXPELLED,
    KafkaError._FENCED: Failure.FENCED,
    KafkaError.PRODUCER_FENCED: Failure.FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH: Failure.FENCED,
    KafkaError.FENCED_INSTANCE_ID: Failure.FENCED,
    KafkaError._AUTO_OFFSET_RESET: Failure.GAP,
    KafkaError._LOG_TRUNCATION: Failure.GAP,
    KafkaError.OFFSET_OUT_OF_RANGE: Failure.GAP,
    KafkaError.UNKNOWN_TOPIC_OR_PART: Failure.MISSING_TOPIC,
    KafkaError._UNKNOWN_TOPIC: Failure.MISSING_TOPIC,
    KafkaError.INVALID_SESSION_TIMEOUT: Failure.REFUSED_SESSION,
}


_ERRORS: Final[Mapping[Failure, tuple[type[StreamRouterError], str]]] = {
    Failure.PASSES: (UnreachableError, "Kafka at {servers} does not answer while {doing}: {said}"),
    Failure.EXPELLED: (
        UnreachableError,
        (
            "the group has gone on without this process while {doing}: {said}. It was cut off or stopped for longer "
            "than session.timeout.ms: start it again"
        ),
    ),
    Failure.FENCED: (FencedError, "another process has taken over while {doing}: {said}"),
    Failure.GAP: (GapError, "records were deleted before they were read, while {doing}: {said}"),
    Failure.MISSING_TOPIC: (
        TopicError,
        "{said} while {doing}: create the route's topics with 'stream-router topics apply'",
    ),
    Failure.REFUSED_SESSION: (
        SettingError,
        (
            "kafka setting session.timeout.ms is {session}, and the brokers refuse what it comes to while {doing}: set "
            "it between their group.min.session.timeout.ms and group.max.session.timeout.ms (6000 and 1800000 unless "
            "they are configured otherwise)"
        ),
    ),
    Failure.FINAL: (StreamRouterError, "{name} while {doing}: {said}"),
}


def failure_of(error: KafkaError) -> Failure:
    """What the table says; of codes that it does not name those pass that librdkafka calls retriable."""
    named = _TABLE.get(error.code())
    if error.fatal() or error.code() == KafkaError._FATAL:
        # The reason stands in the text where the code is only that it is fatal.
        return Failure.FENCED if named is Failure.FENCED or "fenced" in error.str().lower() else Failure.FINAL
    return named or (Failure.PASSES if error.retriable() else Failure.FINAL)


def passes(error: KafkaError) -> bool:
    """Whether it is an outage of seconds, after which the same can be asked again."""
    return failure_of(error) is Failure.PASSES


def cause_of(error: KafkaException) -> KafkaError:
    cause: KafkaError = error.args[0]
    return cause


def explain(error: KafkaException | KafkaError, settings: Settings, doing: str) -> StreamRouterError:
    """The error of our tree for one of librdkafka's; `doing` completes "while"."""
    cause = cause_of(error) if isinstance(error, KafkaException) else error
    kind, text = _ERRORS[failure_of(cause)]
    return kind(
        text.format(
            doing=doing,
            name=cause.name(),
            said=cause.str(),
            servers=settings.bootstrap_servers,
            session=settings.kafka.get("session.timeout.ms", "not set"),
        )
    )


@contextmanager
def explaining(settings: Settings, doing: str) -> Iterator[None]:
    """Raises what `explain` makes of a KafkaException of the block."""
    try:
        yield
    except KafkaException as error:
        raise explain(error, settings, doing) from error
