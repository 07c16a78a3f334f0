"""A member of a consumer group, and where it begins to read."""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream_router.adapters.detached import detached, within
from stream_router.adapters.kafka.clients import TIMEOUT
from stream_router.adapters.kafka.polling import Polled, poll
from stream_router.errors import StreamRouterError

Start = Literal["earliest", "latest"] | int
"""Where a group without offsets begins; a number is a time in milliseconds since the epoch."""

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
        self._closing = self._abandoned = False
        self._callback_error: KafkaException | StreamRouterError | None = None
        self.client = client
        self.joined = False

    def join(self) -> None:
        """Subscribe; partitions come while polling."""
        self.joined = True
        self.client.subscribe(
            [self._topic],
            on_assign=self._guarded(self._on_assign),
            on_revoke=self._guarded(self._listener.on_revoked),
            on_lost=self._guarded(self._listener.on_lost),
        )

    def poll(self, count: int, wait: float, gather: float = 0.0) -> Polled:
        """See polling.poll. Raises what the listener raised, too: the client would lose it."""
        try:
            polled = poll(self.client, count, wait, gather)
        finally:
            if self._callback_error is not None:  # also before what follows from it, such as a start without offsets
                raise self._callback_error
        return polled

    def close(self, timeout: float = TIMEOUT) -> None:
        """Leave the group; where Kafka does not answer within `timeout` seconds, the session ends by itself."""
        self._closing = True
        try:
            within(timeout, self.client.close, "the end of a consumer")
        except (KafkaException, TimeoutError) as error:
            _log.warning("consumer closed with an error", error=str(error))

    def abandon(self) -> None:
        """Let go of a client that has lost its identity; the listener hears no more of it."""
        self._closing = self._abandoned = True
        detached(self.client.close, name="end of a consumer")

    def _on_assign(self, partitions: list[TopicPartition]) -> None:
        if not self._closing:
            self._listener.on_assigned(partitions)

    def _guarded(
        self, callback: Callable[[list[TopicPartition]], None]
    ) -> Callable[[Consumer, list[TopicPartition]], None]:
        def guarded(client: Consumer, partitions: list[TopicPartition]) -> None:
            if self._abandoned:
                client.unassign()
                return
            try:
                callback(partitions)
            except (KafkaException, StreamRouterError) as error:
                self._callback_error = error

        return guarded


def begin_offsets(
    client: Consumer, partitions: Sequence[TopicPartition], start: Start, chosen: dict[int, int], timeout: float
) -> list[TopicPartition]:
    """The group's offsets of the partitions; where it has none, those that `start` names.

    `chosen` (partition to offset) keeps what `start` was found to mean: asked again before the first commit, "latest"
    would step over what came meanwhile. `timeout` in seconds, of each request: a transaction that a dead member left
    open has to end first. Raises KafkaException.
    """
    begin = client.committed(list(partitions), timeout)
    for committed in begin:
        if committed.offset < 0:
            if committed.partition not in chosen:
                chosen[committed.partition] = _start_offset(client, committed, start, timeout)
            committed.offset = chosen[committed.partition]
        else:
            chosen.pop(committed.partition, None)
    return begin


def _start_offset(client: Consumer, partition: TopicPartition, start: Start, timeout: float) -> int:
    low, high = client.get_watermark_offsets(TopicPartition(partition.topic, partition.partition), timeout)
    if not isinstance(start, int):
        return low if start == "earliest" else high
    # After the end was asked for: what comes between the two is not stepped over.
    at_time = client.offsets_for_times([TopicPartition(partition.topic, partition.partition, start)], timeout)[0].offset
    return at_time if at_time >= 0 else high
