"""Servers of a test's own, for what no other test may notice."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.waiting import wait_until

from stream_router.local.kafka import Kafka
from stream_router.local.stack import Stack, local_stack, start


class OwnStack:
    """A Kafka and a Valkey whose broker can be taken away and given back."""

    def __init__(self, running: Stack) -> None:
        self._data, self._broker = running.data, running.kafka_pid
        self.bootstrap_servers, self.redis_url = running.bootstrap_servers, running.redis_url

    @property
    def environment(self) -> dict[str, str]:
        return {
            "STREAM_ROUTER_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "STREAM_ROUTER_REDIS_URL": self.redis_url,
        }

    def end_broker(self, number: signal.Signals) -> None:
        """Returns when it is gone."""
        os.kill(self._broker, number)
        wait_until(lambda: not Kafka(self._data / "kafka").daemon.runs(), 60, "the end of the broker")

    def freeze_broker(self, seconds: float) -> None:
        """Hold it for so long: its connections stay open, and nothing is answered."""
        os.kill(self._broker, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            os.kill(self._broker, signal.SIGCONT)

    def start_broker(self) -> None:
        """Again, on the same port; returns when it answers."""
        running = start(self._data)
        assert running.bootstrap_servers == self.bootstrap_servers
        self._broker = running.kafka_pid


@contextmanager
def own_stack(folder: Path) -> Iterator[OwnStack]:
    with local_stack(folder) as running:
        yield OwnStack(running)
