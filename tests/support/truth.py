"""Ground truth for the models of support.models: whether x is even."""

from collections.abc import Callable

from confluent_kafka import Producer

from stream_router.adapters.avro.labels import encode_label

_FLUSH = 120
"""Seconds, longer than a test takes a broker away."""


class Truth:
    """Sends the labels of requests r0, r1 and so on."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "enable.idempotence": True,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        self._topic = topic

    def send(self, first: int, end: int, labelled: Callable[[int], bool] = lambda _: True) -> None:
        """Those of which `labelled` says so of their number."""
        for number in filter(labelled, range(first, end)):
            request_id = f"r{number}"
            self._producer.produce(self._topic, encode_label(request_id, number % 2 == 0), request_id.encode())
        assert self._producer.flush(_FLUSH) == 0
