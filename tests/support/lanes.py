"""What the topics of a route hold, and whether it is right."""

from support.kafka import GrowingTopic, KafkaRecord, kafka_records

from stream_router.adapters.avro.records import decode_split
from stream_router.core.lane import LANES
from stream_router.core.route import Route
from stream_router.core.routing.applied_split import INITIAL_SPLIT
from stream_router.core.routing.audit import Copy, Fault, Findings, KnownSplits
from stream_router.core.routing.audit_walk import Bounds, PartitionWalk, Rules
from stream_router.core.routing.header import Routing, parse_routing
from stream_router.core.routing.split import parse_split

EVERYTHING = Bounds(committed=2**63, whole=True)
"""All requests must be routed."""


def routing_of(record: KafkaRecord) -> Routing:
    return parse_routing(record.headers)


class Lanes:
    """What the topics of a route hold."""

    def __init__(self, bootstrap: str, route: Route) -> None:
        self.bootstrap, self.route = bootstrap, route
        self._growing: list[GrowingTopic] = []

    def read(self, topic):
        return kafka_records(self.bootstrap, self.route.topic(topic))

    def routed(self):
        return {lane: self.read(f"requests.{lane}") for lane in ("stable", "canary")}

    def count(self) -> int:
        """The requests in both lanes."""
        if not self._growing:
            self._growing = [GrowingTopic(self.bootstrap, self.route.lane_topic(lane)) for lane in LANES]
        return sum(topic.count() for topic in self._growing)

    def close(self) -> None:
        for topic in self._growing:
            topic.close()

    def splits(self):
        splits = [decode_split(record.value) for record in self.read("splits")]
        return {applied.epoch: parse_split(applied.raw) for applied in [INITIAL_SPLIT, *splits]}

    def faults(self) -> list[Fault]:
        """Of all requests: each must be in exactly one lane, the right one, unchanged and in order."""
        splits = KnownSplits(decode_split(record.value) for record in self.read("splits"))
        rules = Rules(route=self.route.name, topic=self.route.topic("requests"), by_request=False, splits=splits)
        source, routed, findings = self.read("requests"), self.routed(), Findings()
        for partition in {record.partition for records in (source, *routed.values()) for record in records}:
            copies = {lane: _copies(records, partition, Copy.of_lane) for lane, records in routed.items()}
            walk = PartitionWalk(rules, EVERYTHING, partition, frozenset(), findings)
            walk.run(_copies(source, partition, Copy.of_source), copies)
        return findings.shown


def _copies(records, partition, make):
    return [make(r.offset, r.timestamp, r.key, r.value, r.headers) for r in records if r.partition == partition]
