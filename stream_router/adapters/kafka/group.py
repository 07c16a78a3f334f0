"""A member of a consumer group, and where it begins to read."""

from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_router.adapters.kafka.clients import TIMEOUT
from stream_router.adapters.kafka.failures import cause_of
from stream_router.adapters.kafka.polling import Polled, poll
from stream_router.errors import StreamRouterError

Start = Literal["earliest", "latest"] | int
"""Where a group without offsets begins; a number is a time in milliseconds since the epoch."""

_ASK: Final = 3
"""Times that a group is asked for its offsets, each with a time-out of its own."""

_log = structlog.get_logger()


class RebalanceListener(Protocol):
    """What a member does with its partitions; called inside `GroupMember.poll`, never while the member closes."""

    def on_assigned(self, partitions: list[TopicPartition]) -> None:
        """These are ours from now on: the listener assigns them, with offsets."""

    def on_revoked(self, partitions: list[TopicPartition]) -> None:
        """These are still ours, and will not be: also called when the member closes."""

    def on_lost(self, partitions: list[TopicPartition]) -> None:
        """The group has given these to others already."""


class GroupMember:
    """`client` is the consumer itself. Its methods raise KafkaException."""

    def __init__(self, client: Consumer, topic: str, listener: RebalanceListener) -> None:
        self._topic, self._listener = topic, listener
        self._closing = False
        self._callback_error: KafkaException | StreamRouterError | None = None
        self.client = client

    def join(self) -> None:
        """Subscribe; partitions come while polling."""
        self.client.subscribe(
            [self._topic],
            on_assign=self._guarded(self._on_assign),
            on_revoke=self._guarded(self._listener.on_revoked),
            on_lost=self._guarded(self._listener.on_lost),
        )

    def poll(self, count: int, timeout: float) -> Polled:
        """See polling.poll. Raises what the listener raised, too: the client would lose it."""
        try:
            polled = poll(self.client, count, timeout)
        finally:
            if self._callback_error is not None:  # also before what follows from it, such as a start without offsets
                raise self._callback_error
        return polled

    def close(self) -> None:
        """Leave the group."""
        self._closing = True
        try:
            self.client.close()
        except KafkaException as error:
            _log.warning("consumer closed with an error", error=str(error))

    def _on_assign(self, partitions: list[TopicPartition]) -> None:
        if not self._closing:
            self._listener.on_assigned(partitions)

    def _guarded(
        self, callback: Callable[[list[TopicPartition]], None]
    ) -> Callable[[Consumer, list[TopicPartition]], None]:
        def guarded(_client: Consumer, partitions: list[TopicPartition]) -> None:
            try:
                callback(partitions)
            except (KafkaException, StreamRouterError) as error:
                self._callback_error = error

        return guarded


def begin_offsets(
    client: Consumer, partitions: Sequence[TopicPartition], start: Start, chosen: dict[int, int]
) -> list[TopicPartition]:
    """The group's offsets of the partitions; where it has none, those that `start` names.

    `chosen` (partition to offset) keeps what `start` was found to mean: asked again before the first commit, "latest"
    would step over what came meanwhile. Raises KafkaException.
    """
    begin = committed_offsets(client, partitions)
    for committed in begin:
        if committed.offset < 0:
            if committed.partition not in chosen:
                chosen[committed.partition] = _start_offset(client, committed, start)
            committed.offset = chosen[committed.partition]
        else:
            chosen.pop(committed.partition, None)
    return begin


def committed_offsets(client: Consumer, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
    """The group's offsets; waits for the end of a transaction that a dead member left open. Raises KafkaException."""
    for _ in range(_ASK):
        try:
            return client.committed(list(partitions), TIMEOUT)
        except KafkaException as error:
            if cause_of(error).code() != KafkaError._TIMED_OUT:  # noqa: SLF001 - librdkafka's own code is spelt so
                raise
            timed_out = error
    raise timed_out


def _start_offset(client: Consumer, partition: TopicPartition, start: Start) -> int:
    low, high = client.get_watermark_offsets(TopicPartition(partition.topic, partition.partition), TIMEOUT)
    if not isinstance(start, int):
        return low if start == "earliest" else high
    # After the end was asked for: what comes between the two is not stepped over.
    at_time = client.offsets_for_times([TopicPartition(partition.topic, partition.partition, start)], TIMEOUT)[0].offset
    return at_time if at_time >= 0 else high
