"""How many requests of a lane wait for its scoring group, by the group's positions and the lane's records."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # its stubs do not export it

from stream_router.adapters.kafka.clients import TIMEOUT, admin, partition_count
from stream_router.adapters.kafka.failures import cause_of, explain, explaining
from stream_router.adapters.kafka.polling import TopicReader
from stream_router.adapters.kafka.record_headers import readable_headers
from stream_router.core.lane import Lane
from stream_router.core.rollout.lane_look import EndMarks, LaneLook, Wanted
from stream_router.core.route import Route
from stream_router.core.routing.header import parse_routing
from stream_router.errors import HeaderError
from stream_router.settings import Settings

_MOST: Final = 1_000
"""Offsets read of a partition."""

Offsets = Mapping[int, int]
"""By partition."""


class Lanes:
    """Of one route. Reads a partition only where a request may wait for too long; asks the brokers at each look."""

    def __init__(self, settings: Settings, route: Route) -> None:
        self._settings, self._route = settings, route
        self._admin = admin(settings)
        self._marks: dict[tuple[Lane, int], EndMarks] = defaultdict(EndMarks)
        self._partitions: dict[Lane, int] = {}

    def look(self, lane: Lane, wanted: Wanted, now: int) -> LaneLook:
        """`now` by the brokers' clock, milliseconds since the epoch.

        Where the group has no position it is the rollout's first record. Raises UnreachableError, TopicError, GapError.
        """
        topic, group = self._route.lane_topic(lane), self._route.scoring_group(lane)
        if lane not in self._partitions:
            self._partitions[lane] = partition_count(self._settings, topic)
        lows = self._listed(topic, lane, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        committed = self._committed(group, topic, lane)
        ends = self._listed(topic, lane, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        begin = {partition: max(low, committed.get(partition, low)) for partition, low in lows.items()}
        overdue = {
            partition: offset
            for partition, offset in begin.items()
            if self._marks[lane, partition].may_be_overdue(offset, ends[partition], now, wanted.deadline)
        }
        waiting = self._waiting(topic, lane, wanted, overdue, ends, now)
        return LaneLook(
            lane=lane,
            rollout=wanted.rollout,
            unanswered=len(waiting),
            oldest_routed_at=min(waiting, default=0),
            behind=sum(max(0, ends[partition] - offset) for partition, offset in begin.items()),
            has_committed=bool(committed),
            members=self._members(group),
        )

    def _waiting(self, topic: str, lane: Lane, wanted: Wanted, begin: Offsets, ends: Offsets, now: int) -> list[int]:
        """When the requests of the rollout were routed that wait for longer than the deadline."""
        starts = {partition: offset for partition, offset in begin.items() if offset < ends[partition]}
        if any(ends[partition] - offset > _MOST for partition, offset in starts.items()):
            # Before them may lie more than is read of earlier rollouts. Records keep the time of their request, which
            # may be earlier than the rollout: then they are not stepped over.
            since = self._listed(topic, lane, OffsetSpec.for_timestamp(wanted.since))
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
        wanted = [TopicPartition(topic, partition) for partition in range(self._partitions[lane])]
        asked = [ConsumerGroupTopicPartitions(group, wanted)]
        with explaining(self._settings, doing := f"asking for the offsets of group {group}"):
            answers = self._admin.list_consumer_group_offsets(asked, require_stable=False, request_timeout=TIMEOUT)
            found = answers[group].result().topic_partitions
        for at in found:
            if at.error is not None:
                raise explain(at.error, self._settings, doing)
        return {at.partition: at.offset for at in found if at.offset >= 0}

    def _listed(self, topic: str, lane: Lane, spec: Any) -> Offsets:
        wanted = {TopicPartition(topic, partition): spec for partition in range(self._partitions[lane])}
        with explaining(self._settings, f"asking for offsets of topic {topic}"):
            answers = self._admin.list_offsets(
                wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=TIMEOUT
            )
            return {asked.partition: answer.result().offset for asked, answer in answers.items()}

    def _members(self, group: str) -> int | None:
        """None where our user may not ask."""
        doing = f"asking for the members of group {group}"
        try:
            answers = self._admin.describe_consumer_groups([group], request_timeout=TIMEOUT)
            return len(answers[group].result().members)
        except KafkaException as error:
            if cause_of(error).code() == KafkaError.GROUP_ID_NOT_FOUND:
                return 0
            if cause_of(error).code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                return None
            raise explain(error, self._settings, doing) from error
