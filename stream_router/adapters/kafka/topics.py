"""A route's topics on the brokers: created where they are missing, compared with their declarations, never changed."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not export all that it documents
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from stream_router.adapters.kafka.clients import TIMEOUT, admin
from stream_router.adapters.kafka.declarations import Declaration, declarations
from stream_router.adapters.kafka.failures import cause_of, explain, explaining
from stream_router.core.route import FOREIGN, Route, Topic
from stream_router.errors import TopicError
from stream_router.settings import Settings

FOLLOWS: Final[Mapping[Topic, Topic]] = {
    "requests.stable": "requests",
    "requests.canary": "requests",
    "ground-truth": "predictions",
}
"""Topics whose partition count must be that of another: order per key, and a join that meets by partition."""

_POLL: Final = 0.05


@dataclass(frozen=True)
class State:
    """A topic as it is; `partitions` is None where it is missing."""

    name: str
    declaration: Declaration
    foreign: bool
    partitions: int | None


@dataclass(frozen=True)
class Applied:
    """What apply did about one topic."""

    name: str
    partitions: int
    created: bool


def states(settings: Settings, route: Route) -> list[State]:
    """The topics of the route, in the order of its data flow. Raises UnreachableError."""
    counts = _partition_counts(admin(settings), settings)
    found = []
    for declaration in declarations():
        name = route.topic(declaration.topic)
        foreign = declaration.topic in FOREIGN and name != f"{route.name}.{declaration.topic}"
        found.append(State(name, declaration, foreign, counts.get(name)))
    return found


def apply(settings: Settings, route: Route, partitions: int | None = None) -> list[Applied]:
    """Create what is missing; `partitions` in place of the declared counts above 1.

    A lane gets as many partitions as the request topic has; predictions and ground truth get equally many. Raises
    TopicError where a topic of the user's does not exist or the brokers refuse one, UnreachableError.
    """
    client = admin(settings)
    before = states(settings, route)
    for state in before:
        if state.foreign and state.partitions is None:
            raise TopicError(
                f"topic {state.name!r}, which the settings name in place of {route.name}.{state.declaration.topic}, "
                "does not exist: create it, or correct its name",
            )
    counts = {state.declaration.topic: state.partitions for state in before}
    for state in before:
        topic = state.declaration.topic
        counts[topic] = counts[topic] or _leader(topic, counts) or state.declaration.partitions_or(partitions)
    applied = []
    for state in before:
        count = cast("int", counts[state.declaration.topic])
        created = state.partitions is None and _create(client, settings, state, count)
        applied.append(Applied(state.name, count, created))
    _wait_until_listed(client, settings, {topic.name for topic in applied})
    return applied


def differences(settings: Settings, route: Route, partitions: int | None = None) -> list[str]:
    """One sentence for each way in which the topics are not as declared. Raises UnreachableError."""
    found = states(settings, route)
    counts = {state.declaration.topic: state.partitions for state in found}
    names = {state.declaration.topic: state.name for state in found}
    configs = _configs(settings, [state.name for state in found if state.partitions is not None and not state.foreign])
    sentences = []
    for state in found:
        if state.partitions is None:
            sentences.append(f"{state.name} is missing")
            continue
        leader = FOLLOWS.get(state.declaration.topic)
        declared = state.declaration.partitions_or(partitions)
        if leader is not None and counts[leader] not in (None, state.partitions):
            sentences.append(
                f"{state.name} has {state.partitions} partitions, but {names[leader]} has {counts[leader]}: "
                "they must be equal",
            )
        elif leader is None and not state.foreign and state.partitions != declared:
            sentences.append(f"{state.name} has {state.partitions} partitions, declared are {declared}")
        in_force = configs.get(state.name, {})
        for key, value in state.declaration.config.items() if not state.foreign else ():
            if in_force.get(key) != value:
                sentences.append(f"{state.name} has {key}={in_force.get(key)}, declared is {value}")
    return sentences


def _leader(topic: Topic, counts: Mapping[Topic, int | None]) -> int | None:
    """The count that an existing topic dictates: either of the two that the join meets in, whichever is there."""
    if topic == "predictions":
        return counts["ground-truth"]
    leader = FOLLOWS.get(topic)
    return counts[leader] if leader else None


def _create(client: AdminClient, settings: Settings, state: State, count: int) -> bool:
    """Raises TopicError, UnreachableError."""
    declaration = state.declaration
    new = NewTopic(state.name, count, declaration.replicas, config=dict(declaration.config))
    try:
        client.create_topics([new], operation_timeout=TIMEOUT, request_timeout=TIMEOUT)[state.name].result()
    except KafkaException as error:
        if cause_of(error).name() == "TOPIC_ALREADY_EXISTS":  # another apply was faster
            return False
        raise explain(error, settings, f"creating topic {state.name}") from error
    return True


def _wait_until_listed(client: AdminClient, settings: Settings, names: set[str]) -> None:
    """A created topic may be unknown to a broker for a moment. Raises TopicError, UnreachableError."""
    deadline = time.monotonic() + TIMEOUT
    while missing := names - _partition_counts(client, settings).keys():
        if time.monotonic() > deadline:
            raise TopicError(f"topic {min(missing)} was created, but the brokers do not list it after {TIMEOUT:.0f} s")
        time.sleep(_POLL)


def _partition_counts(client: AdminClient, settings: Settings) -> dict[str, int]:
    with explaining(settings, "listing topics"):
        topics = client.list_topics(timeout=TIMEOUT).topics
    return {name: len(topic.partitions) for name, topic in topics.items() if topic.error is None}


def _configs(settings: Settings, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    client = admin(settings)  # must outlive its answers
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    with explaining(settings, "reading configurations of topics"):
        answers = client.describe_configs(resources, request_timeout=TIMEOUT)
        return {
            resource.name: {key: entry.value for key, entry in answer.result().items()}
            for resource, answer in answers.items()
        }
