"""Whether a group has read a topic up to given ends."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from confluent_kafka import TopicPartition

from stream_router.adapters.kafka.clients import TIMEOUT, reader
from stream_router.adapters.kafka.failures import explaining
from stream_router.adapters.kafka.polling import has_records
from stream_router.errors import UnreachableError
from stream_router.settings import Settings

_LOOK_EVERY: Final = 0.5
"""Seconds between looks."""


class Drained:
    """Whether the group has committed all records of the topic before `ends`, by partition.

    `left`: offsets before the ends at the last look, None before the first; markers of transactions are among them.
    """

    def __init__(self, settings: Settings, topic: str, group: str, ends: Mapping[int, int]) -> None:
        self._settings, self._topic, self._group, self._ends = settings, topic, group, ends
        self._client = reader(settings, group)
        self._next_look = 0.0
        self.done = False
        self.left: int | None = None

    def __call__(self, now: float) -> bool:
        """Looks now and then; `now` in seconds. Raises TopicError."""
        if not self.done and now >= self._next_look:
            self._next_look = now + _LOOK_EVERY
            with suppress(UnreachableError):  # an outage is waited for
                self.done = self._look()
        return self.done

    def close(self) -> None:
        self._client.close()

    def _look(self) -> bool:
        wanted = [TopicPartition(self._topic, partition) for partition in self._ends]
        with explaining(self._settings, f"asking for the offsets of group {self._group}"):
            committed = {found.partition: found.offset for found in self._client.committed(wanted, TIMEOUT)}
        self.left = sum(max(0, end - max(0, committed[partition])) for partition, end in self._ends.items())
        if any(offset < 0 for offset in committed.values()):
            return False  # a partition that no member of the group has begun
        spans = {partition: (committed[partition], end) for partition, end in self._ends.items()}
        return not has_records(self._settings, self._topic, spans)
