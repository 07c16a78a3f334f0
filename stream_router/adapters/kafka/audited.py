"""Topics as they stand at one moment, for an audit: where they begin and end, and their records between."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from confluent_kafka import TopicPartition

from stream_router.adapters.kafka.clients import (
    TIMEOUT,
    partition_count,
    reader,
    stable_ends,
    topic_config,
    written_ends,
)
from stream_router.adapters.kafka.failures import explain, explaining
from stream_router.adapters.kafka.polling import Record, TopicReader
from stream_router.errors import TopicError
from stream_router.settings import Settings

_PATIENCE: Final = 60.0
"""Seconds in which an open transaction has to end: longer than the limit of ours and the brokers' way of ending it."""

_LOOK_EVERY: Final = 0.1


@dataclass(frozen=True)
class Beginning:
    """Of a partition: its first offset, the timestamp of its first record, None without one, and the time before which
    its retention deletes. Times are milliseconds since the epoch.
    """

    low: int
    first: int | None
    kept_since: int

    def may_lack(self, start: int, *, is_near: bool) -> bool:
        """Whether records were deleted that belong behind the offset `start`, which is the first from some time on.

        Times are not in order. What retention deletes by time is all older than `kept_since`; what anything else
        deletes may be younger than what is left, by a little: `is_near` says that the time is one at which a topic
        begins.
        """
        by_time_only = self.first is not None and self.first <= self.kept_since
        return self.low > 0 and (start == self.low or (is_near and not by_time_only))


def settled_ends(settings: Settings, topics: Iterable[str]) -> dict[str, dict[int, int]]:
    """The ends of the topics, in which no transaction is open any more that is open now.

    Raises TopicError where one stays open, UnreachableError.
    """
    names = list(topics)
    counts = {topic: partition_count(settings, topic) for topic in names}
    ends = {topic: written_ends(settings, topic, counts[topic]) for topic in names}
    deadline = time.monotonic() + _PATIENCE
    for topic in names:
        while open_in := _behind(stable_ends(settings, topic, counts[topic]), ends[topic]):
            if time.monotonic() > deadline:
                partition, stable = open_in
                raise TopicError(
                    f"a transaction has been open in topic {topic}, partition {partition}, from offset {stable} on for "
                    f"more than {_PATIENCE:.0f} s, and nobody can read what lies behind it: look for it with "
                    "'kafka-transactions.sh find-hanging'"
                )
            time.sleep(_LOOK_EVERY)
    return ends


def _behind(stable: Mapping[int, int], ends: Mapping[int, int]) -> tuple[int, int] | None:
    return next(((partition, stable[partition]) for partition, end in ends.items() if stable[partition] < end), None)


def committed_offsets(settings: Settings, group: str, topic: str, partitions: int) -> dict[int, int]:
    """The group's offset in each partition; 0 where it has none. Raises UnreachableError."""
    client, doing = reader(settings, group), f"asking for the offsets of group {group}"
    try:
        with explaining(settings, doing):
            committed = client.committed([TopicPartition(topic, number) for number in range(partitions)], TIMEOUT)
    finally:
        client.close()
    for found in committed:
        if found.error is not None:
            raise explain(found.error, settings, doing)
    return {found.partition: max(0, found.offset) for found in committed}


class PartitionReader:
    """Reads single partitions, each up to an end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = reader(settings)
        self._retention: dict[str, int] = {}

    def close(self) -> None:
        self._client.close()

    def beginning(self, topic: str, partition: int, end: int, now: int) -> Beginning:
        """Where the partition begins now. Raises UnreachableError, TopicError, GapError."""
        with explaining(self._settings, f"asking for the beginning of topic {topic}"):
            low = self._client.get_watermark_offsets(TopicPartition(topic, partition), TIMEOUT)[0]
        if low == 0:
            return Beginning(0, None, 0)
        if topic not in self._retention:
            self._retention[topic] = int(topic_config(self._settings, topic)["retention.ms"])
        retention = self._retention[topic]
        first = next((record.timestamp()[1] for record in self.records(topic, partition, low, end)), None)
        return Beginning(low, first, 0 if retention < 0 else now - retention)

    def offset_at(self, topic: str, partition: int, timestamp: int, end: int) -> int:
        """The first offset whose record has this timestamp or a later one; the end where there is none."""
        with explaining(self._settings, f"asking for the offset of a time in topic {topic}"):
            found = self._client.offsets_for_times([TopicPartition(topic, partition, timestamp)], TIMEOUT)[0]
        if found.error is not None:
            raise explain(found.error, self._settings, f"asking for the offset of a time in topic {topic}")
        return end if found.offset < 0 else min(found.offset, end)

    def records(
        self, topic: str, partition: int, start: int, end: int, on_position: Callable[[int], None] | None = None
    ) -> Iterator[Record]:
        """Committed records in [start, end); `on_position` is told each offset read."""
        if start >= end:
            return
        topic_reader = TopicReader(self._settings, topic, {partition: start})
        try:
            for record in topic_reader.read_to({partition: end}):
                if (offset := record.offset()) >= end:
                    return
                if on_position is not None:
                    on_position(offset)
                yield record
        finally:
            topic_reader.close()
