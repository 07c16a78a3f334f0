"""How many requests of a lane wait for its scoring group, by the group's positions and the lane's records."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient

from stream_router.adapters.detached import detached
from stream_router.adapters.kafka.clients import TIMEOUT, admin, consumer_for, partition_count, reader
from stream_router.adapters.kafka.failures import explain, explaining
from stream_router.adapters.kafka.polling import TopicReader
from stream_router.adapters.kafka.record_headers import readable_headers
from stream_router.core.lane import Lane
from stream_router.core.rollout.lane_look import EndMarks, LaneLook, Wanted
from stream_router.core.route import Route
from stream_router.core.routing.header import parse_routing
from stream_router.errors import HeaderError, StreamRouterError
from stream_router.settings import Settings

_MOST: Final = 1_000
"""Offsets read of a partition."""

Offsets = Mapping[int, int]
"""By partition."""


class Lanes:
    """Of one route. Reads a partition only where a request may wait for too long; asks the brokers at each look.

    Of the admin client only what it asks in the caller's thread: its requests of another kind (offsets of topics and
    of groups, members) end the process with a failed assertion of librdkafka's, where the broker goes away meanwhile.
    """

    def __init__(self, settings: Settings, route: Route) -> None:
        self._settings, self._route = settings, route
        self._marks: dict[tuple[Lane, int], EndMarks] = defaultdict(EndMarks)
        self._partitions: dict[Lane, int] = {}
        self._admin: AdminClient | None = None
        self._reader: Consumer | None = None
        self._of_groups: dict[str, Consumer] = {}

    def look(self, lane: Lane, wanted: Wanted, now: int) -> LaneLook:
        """`now` by the brokers' clock, milliseconds since the epoch.

        Where the group has no position it is the rollout's first record. Raises UnreachableError, TopicError, GapError.
        """
        try:
            return self._look(lane, wanted, now)
        except StreamRouterError:
            self._renew()
            raise

    def _look(self, lane: Lane, wanted: Wanted, now: int) -> LaneLook:
        topic, group = self._route.lane_topic(lane), self._route.scoring_group(lane)
        if lane not in self._partitions:
            self._partitions[lane] = partition_count(self._settings, topic)
        committed = self._committed(group, topic, lane)
        lows, ends = self._bounds(topic, lane)
        begin = {partition: max(low, committed.get(partition, low)) for partition, low in lows.items()}
        overdue = {
            partition: offset
            for partition, offset in begin.items()
            if self._marks[lane, partition].may_be_overdue(offset, ends[partition], now, wanted.deadline)
        }
        waiting = self._waiting(topic, wanted, overdue, ends, now)
        return LaneLook(
            lane=lane,
            rollout=wanted.rollout,
            unanswered=len(waiting),
            oldest_routed_at=min(waiting, default=0),
            behind=sum(max(0, ends[partition] - offset) for partition, offset in begin.items()),
            has_committed=bool(committed),
            members=self._members(group),
        )

    def _renew(self) -> None:
        """A client that has lived through an outage may never find its brokers again."""
        former = [*self._of_groups.values(), *([self._reader] if self._reader else [])]
        self._admin, self._reader, self._of_groups = None, None, {}
        for client in former:
            detached(client.close, name="end of a reader")

    def _waiting(self, topic: str, wanted: Wanted, begin: Offsets, ends: Offsets, now: int) -> list[int]:
        """When the requests of the rollout were routed that wait for longer than the deadline."""
        starts = {partition: offset for partition, offset in begin.items() if offset < ends[partition]}
        if any(ends[partition] - offset > _MOST for partition, offset in starts.items()):
            # Before them may lie more than is read of earlier rollouts. Records keep the time of their request, which
            # may be earlier than the rollout: then they are not stepped over.
            since = self._since(topic, list(starts), wanted.since)
            starts = {
                partition: max(offset, since[partition]) if ends[partition] - offset > _MOST else offset
                for partition, offset in starts.items()
            }
        if not starts:
            return []
        until = {partition: min(ends[partition], offset + _MOST) for partition, offset in starts.items()}
        reader, waiting = TopicReader(self._settings, topic, starts), []
        try:
            for record in reader.read_to(until):
                try:
                    routing = parse_routing(readable_headers(record))
                except HeaderError:
                    continue
                is_old = now - routing.routed_at > wanted.deadline
                if record.offset() < until[record.partition()] and routing.rollout == wanted.rollout and is_old:
                    waiting.append(routing.routed_at)
        finally:
            reader.close()
        return waiting

    def _committed(self, group: str, topic: str, lane: Lane) -> Offsets:
        """Without those that open transactions are about to change: waiting for these would hold the group up."""
        if group not in self._of_groups:
            contract = {"group.id": group, "enable.auto.commit": False, "isolation.level": "read_uncommitted"}
            self._of_groups[group] = consumer_for(self._settings, {}, contract)
        wanted = [TopicPartition(topic, partition) for partition in range(self._partitions[lane])]
        with explaining(self._settings, doing := f"asking for the offsets of group {group}"):
            found = self._of_groups[group].committed(wanted, TIMEOUT)
        for at in found:
            if at.error is not None:
                raise explain(at.error, self._settings, doing)
        return {at.partition: at.offset for at in found if at.offset >= 0}

    def _bounds(self, topic: str, lane: Lane) -> tuple[Offsets, Offsets]:
        """Where each partition begins, and its last stable offset."""
        client, lows, ends = self._asked(), {}, {}
        with explaining(self._settings, f"asking for offsets of topic {topic}"):
            for partition in range(self._partitions[lane]):
                lows[partition], ends[partition] = client.get_watermark_offsets(
                    TopicPartition(topic, partition), TIMEOUT
                )
        return lows, ends

    def _since(self, topic: str, partitions: list[int], time: int) -> Offsets:
        """The first offset with this timestamp or a later one, below 0 where there is none."""
        wanted = [TopicPartition(topic, partition, time) for partition in partitions]
        with explaining(self._settings, f"asking for offsets of topic {topic}"):
            return {at.partition: at.offset for at in self._asked().offsets_for_times(wanted, TIMEOUT)}

    def _asked(self) -> Consumer:
        if self._reader is None:
            self._reader = reader(self._settings)
        return self._reader

    def _members(self, group: str) -> int | None:
        """None where our user may not ask."""
        if self._admin is None:
            self._admin = admin(self._settings)
        with explaining(self._settings, doing := f"asking for the members of group {group}"):
            found = self._admin.list_groups(group, TIMEOUT)
        for answer in found:
            if answer.error is None:
                return len(answer.members)
            if answer.error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                return None
            if answer.error.code() != KafkaError.GROUP_ID_NOT_FOUND:
                raise explain(answer.error, self._settings, doing)
        return 0
