"""Reads what the demo's processes wrote, committed records only, into a ledger."""

from collections.abc import Callable

from confluent_kafka import OFFSET_BEGINNING, TopicPartition

from stream_router.adapters.avro.records import (
    decode_prediction,
    decode_rollout_event,
    decode_split,
    decode_windowed_accuracy,
)
from stream_router.adapters.kafka.clients import partition_count, reader
from stream_router.adapters.kafka.failures import explaining
from stream_router.adapters.kafka.polling import Record, poll
from stream_router.adapters.kafka.record_headers import readable_headers
from stream_router.core.lane import LANES, Lane
from stream_router.core.route import Route, Topic
from stream_router.core.routing.header import parse_routing
from stream_router.demo.ledger import Ledger
from stream_router.settings import Settings

_BATCH = 2_000


class Observer:
    """Belongs to no group, so that it disturbs nobody. Raises UnreachableError, TopicError, DecodeError."""

    def __init__(self, settings: Settings, route: Route) -> None:
        self.ledger = Ledger()
        self._settings = settings
        own: dict[Topic, Callable[[Record], None]] = {
            "splits": lambda record: self.ledger.on_split(decode_split(record.value())),
            "rollout-events": lambda record: self.ledger.on_event(decode_rollout_event(record.value())),
            "windowed-accuracy": self._on_window,
            "predictions": self._on_prediction,
        }
        self._readers = {route.topic(topic): read for topic, read in own.items()}
        for lane in LANES:
            self._readers[route.lane_topic(lane)] = self._reader_of_lane(lane)
        self._consumer = reader(settings)
        self._consumer.assign(
            [
                TopicPartition(topic, partition, OFFSET_BEGINNING)
                for topic in self._readers
                for partition in range(partition_count(settings, topic))
            ],
        )

    def read(self, seconds: float) -> None:
        """Take in what is new, waiting up to `seconds` for it."""
        with explaining(self._settings, "reading the demo's topics"):
            polled = poll(self._consumer, _BATCH, seconds)
        for record in polled.records:
            self._readers[record.topic()](record)

    def close(self) -> None:
        self._consumer.close()

    def _reader_of_lane(self, lane: Lane) -> Callable[[Record], None]:
        return lambda record: self.ledger.on_routed(lane, parse_routing(readable_headers(record)))

    def _on_prediction(self, record: Record) -> None:
        prediction = decode_prediction(record.value())
        for lane in LANES:
            if prediction.lane == lane:
                self.ledger.on_prediction(lane, prediction)

    def _on_window(self, record: Record) -> None:
        if record.value() is not None:
            self.ledger.on_window(decode_windowed_accuracy(record.value()))
