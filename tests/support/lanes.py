"""What the topics of a route hold, and whether it is right."""

from support.audit import audit
from support.kafka import GrowingTopic, kafka_records

from stream_router.adapters.avro.records import decode_split
from stream_router.core.lane import LANES
from stream_router.core.route import Route
from stream_router.core.routing.applied_split import INITIAL_SPLIT
from stream_router.core.routing.split import parse_split


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

    def faults(self):
        return audit(self.read("requests"), self.routed(), self.splits(), self.route.name)
