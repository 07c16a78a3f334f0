"""A lane that a test fills by itself, and what became of it."""

import json

from confluent_kafka import Producer
from support.kafka import kafka_records
from support.processes import Processes

from stream_router.adapters.avro.records import decode_prediction
from stream_router.core.routing.header import HEADER, Routing

ROUTING = Routing(epoch=7, digest="1f3a9c0b77d2", rollout=3, routed_at=1_795_420_000_123)

HEADERS = [(HEADER, ROUTING.encode())]


class Lane:
    """The lane that a test fills by itself, and what became of it."""

    def __init__(self, bootstrap, route, processes: Processes):
        self.bootstrap, self.route, self.processes = bootstrap, route, processes
        self.producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})

    def put(self, value, key=b"user", headers=HEADERS):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.producer.produce(self.route.lane_topic("canary"), data, key, headers=headers)
        assert self.producer.flush(10) == 0

    def fill(self, numbers):
        for number in numbers:
            data = json.dumps({"request_id": f"r{number}", "x": number}).encode()
            self.producer.produce(self.route.lane_topic("canary"), data, f"user-{number}".encode(), headers=HEADERS)
        assert self.producer.flush(10) == 0

    def command(self, version, *more):
        return (
            *("score", "--route", self.route.name, "--lane", "canary"),
            *("--model", "support.models:load", "--model-version", version, *more),
        )

    def start(self, version, *more):
        return self.processes.start(*self.command(version, *more), PYTHONPATH="tests")

    def drain(self, version, *more):
        return self.processes.run(
            *self.command(version, "--until", "end", "--output", "json", *more), PYTHONPATH="tests"
        )

    def predictions(self):
        return [decode_prediction(r.value) for r in kafka_records(self.bootstrap, self.route.topic("predictions"))]

    def dead_letters(self):
        return kafka_records(self.bootstrap, self.route.topic("dead-letters"))
