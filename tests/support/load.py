"""Requests for tests: numbered per key, so that order can be checked."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Producer

_FLUSH = 120
"""Seconds, longer than a test takes a broker away."""


class Feeder:
    """Produces numbered requests until stopped; 1 in 5 has no key, 1 in 3 has headers of its own."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "linger.ms": 5,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        self._topic = topic
        self.sent = 0

    def send(self, count: int) -> None:
        for _ in range(count):
            number, self.sent = self.sent, self.sent + 1
            key = None if number % 5 == 0 else b"" if number % 97 == 1 else f"user-{number % 211}".encode()
            headers = [("traceparent", b"00-1"), ("dup", b"1"), ("dup", b"2"), ("none", None)] if number % 3 else None
            value = json.dumps({"request_id": f"r{number}", "x": number}).encode()
            self._producer.produce(self._topic, value, key, headers=headers)  # type: ignore[arg-type]
            if number % 500 == 0:
                self._producer.poll(0)
        assert self._producer.flush(_FLUSH) == 0

    @contextmanager
    def steadily(self, rate: int) -> Iterator[None]:
        """Sends `rate` requests a second in a thread while the block runs."""
        stop = threading.Event()

        def run() -> None:
            while not stop.is_set():
                begun = time.monotonic()
                self.send(rate // 20)
                stop.wait(max(0.0, 0.05 - (time.monotonic() - begun)))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
