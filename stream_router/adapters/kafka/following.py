"""Following topics of one partition each as they grow, without a group and without asking where they end."""

import time
from collections.abc import Sequence
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, TopicPartition

from stream_router.adapters.detached import detached
from stream_router.adapters.kafka.clients import TIMEOUT, reader
from stream_router.adapters.kafka.failures import explaining
from stream_router.adapters.kafka.polling import Record, poll
from stream_router.errors import StreamRouterError, UnreachableError
from stream_router.settings import Settings

_COUNT: Final = 2_000
"""Records of one poll."""

_WAIT: Final = 0.05
"""Seconds of a poll on the way to the ends."""

_PROOF: Final = 1.0
"""Seconds after which the brokers are made to say anew that there is no more."""

_RENEW_AFTER: Final = 3.0
"""Seconds without that answer after which the brokers count as away, and the client is replaced."""


class Follower:
    """Reads topics from their beginnings. Its methods raise UnreachableError, TopicError, GapError.

    A quiet topic and a broker that hangs look alike. A fetch that begins anew at the same place ends in the event that
    tells the end of a partition: as long as these come, what was read is all that there is.

    `fetch_wait`: milliseconds that a fetch waits for records, and with it whatever else is asked.
    """

    def __init__(self, settings: Settings, topics: Sequence[str], fetch_wait: int = 500) -> None:
        self._settings, self._next = settings, dict.fromkeys(topics, OFFSET_BEGINNING)
        self._shown, self._fetch_wait = " and ".join(topics), fetch_wait
        self._consumer = reader(settings, fetch_wait=fetch_wait)
        self._behind = set(topics)
        self._asked_at, self._heard_at = 0.0, dict.fromkeys(topics, 0.0)
        self.at_ends = False
        """Whether all topics were read to their ends, and the brokers have been there since."""

    def read_to_ends(self) -> list[Record]:
        """All that there is and was not read before."""
        self.at_ends = False
        for topic in self._next:  # a topic that is missing is told at once; fetches tell it after half a minute
            with explaining(self._settings, f"asking for the end of topic {topic}"):
                self._consumer.get_watermark_offsets(TopicPartition(topic, 0), TIMEOUT)
        self._ask()
        records: list[Record] = []
        while not self.at_ends:
            records += self._poll(_WAIT)
            if self._silence() > TIMEOUT:
                raise UnreachableError(f"topics {self._shown} cannot be read to their ends: no answer")
        return records

    def read(self, wait: float) -> list[Record]:
        """What is new; waits `wait` seconds for a first record."""
        if not self._behind and time.monotonic() - self._asked_at >= _PROOF:
            self._ask()
        records = self._poll(wait)  # first: the answer may have come while the caller was busy
        if self._silence() >= _RENEW_AFTER:
            self._renew()
            if not records:
                raise UnreachableError(f"topics {self._shown} cannot be read: no answer for {_RENEW_AFTER:g} s")
        return records

    def rest(self) -> None:
        """Fetch nothing until the topics are read to their ends again."""
        self.at_ends = False
        self._consumer.unassign()

    def close(self) -> None:
        self._consumer.close()

    def _poll(self, wait: float) -> list[Record]:
        try:
            with explaining(self._settings, f"reading topics {self._shown}"):
                polled = poll(self._consumer, _COUNT, wait)
        except StreamRouterError:
            self.at_ends = False
            self._ask()
            raise
        now = time.monotonic()
        for record in polled.records:
            self._next[record.topic()], self._heard_at[record.topic()] = record.offset() + 1, now
        for (topic, _), offset in polled.ends.items():
            self._next[topic] = max(self._next[topic], offset)
            self._behind.discard(topic)
        self.at_ends = self.at_ends or not self._behind
        return polled.records

    def _silence(self) -> float:
        """Seconds since the one that is longest silent said anything, of those that owe an answer."""
        return max((time.monotonic() - self._heard_at[topic] for topic in self._behind), default=0.0)

    def _ask(self) -> None:
        self._behind = set(self._next)
        self._asked_at = time.monotonic()
        self._heard_at = dict.fromkeys(self._next, self._asked_at)
        self._consumer.assign([TopicPartition(topic, 0, offset) for topic, offset in self._next.items()])

    def _renew(self) -> None:
        """A client that has lived through an outage may never learn of a partition's leader again."""
        self.at_ends = False
        former, self._consumer = self._consumer, reader(self._settings, fetch_wait=self._fetch_wait)
        detached(former.close, name="end of a reader")
        self._ask()
