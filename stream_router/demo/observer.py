"""Reads what the demo's processes wrote, committed records only, into a ledger."""

from collections.abc import Callable
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from stream_router.adapters.avro import Codec
from stream_router.adapters.kafka import Record, explain, fetch, partition_count, reader
from stream_router.adapters.records import decode_law, decode_prediction, decode_rollout_event
from stream_router.core.deciding.windows import WindowedAccuracy
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
        self._window = Codec.of("windowed_accuracy")
        own: dict[Topic, Callable[[Record], None]] = {
            "splits": lambda record: self.ledger.on_law(decode_law(record.value())),
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
        try:
            for record in fetch(self._consumer, _BATCH, seconds):
                error = record.error()
                if error is None:
                    self._readers[record.topic()](record)
                elif error.code() != KafkaError._PARTITION_EOF and not error.retriable():  # noqa: SLF001 - librdkafka's own codes are spelt so
                    raise explain(error, self._settings, "reading the demo's topics")
        except KafkaException as error:
            raise explain(error, self._settings, "reading the demo's topics") from error

    def close(self) -> None:
        self._consumer.close()

    def _reader_of_lane(self, lane: Lane) -> Callable[[Record], None]:
        return lambda record: self.ledger.on_routed(lane, parse_routing(record.headers()))

    def _on_prediction(self, record: Record) -> None:
        prediction = decode_prediction(record.value())
        for lane in LANES:
            if prediction.lane == lane:
                self.ledger.on_prediction(lane, prediction)

    def _on_window(self, record: Record) -> None:
        if record.value() is not None:
            fields: dict[str, Any] = self._window.decode(record.value())
            self.ledger.on_window(WindowedAccuracy(**fields))
