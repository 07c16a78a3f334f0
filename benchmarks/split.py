"""How long a plain SET takes: until the router has the split, and until a reader sees the first record under it.

python benchmarks/split.py --help; `make bench-split` writes its table into benchmarks/README.md.
"""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, cast

import click
import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition
from redis import Redis

from stream_router.adapters.kafka import topics
from stream_router.core.lane import LANES
from stream_router.core.route import Route
from stream_router.core.routing.header import parse_routing
from stream_router.core.routing.split import digest_of
from stream_router.local.stack import Stack, local_stack
from stream_router.settings import load_settings

PARTITIONS = 8
VALUE = 200
PAUSE = 0.05, 0.25
"""Seconds between the first record under a split and the next SET, drawn evenly: no timer is met in step."""

ALLOWED = 60.0
"""Seconds that a split may take before the run counts as failed."""

BEGIN, END = "<!-- bench-split -->", "<!-- /bench-split -->"


def feed(brokers: str, topic: str, rate: int) -> None:
    """Requests at this rate until killed, in a process of its own."""
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 1, "partitioner": "murmur2_random"})
    value, began = os.urandom(VALUE), time.monotonic()
    sent = 0
    while True:
        due = int((time.monotonic() - began) * rate)
        for number in range(sent, due):
            producer.produce(topic, value, b"user-%d" % (number % 50_000))
        sent = max(sent, due)
        producer.poll(0)
        time.sleep(0.002)


class Log:
    """When the router's line that it has an epoch was read: a thread waits for it at the other end of a pipe."""

    def __init__(self, lines: IO[bytes]) -> None:
        self.has_since: dict[int, float] = {}
        self._lines = lines
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._lines:
            at = time.monotonic()
            if b"split in force" in line:
                self.has_since[json.loads(line)["epoch"]] = at


class Reader:
    """Sees what is committed in both lanes."""

    def __init__(self, brokers: str, route: Route) -> None:
        contract = {"group.id": "bench", "isolation.level": "read_committed", "enable.auto.commit": False}
        self._consumer = Consumer(
            contract | {"bootstrap.servers": brokers, "fetch.wait.max.ms": 100, "fetch.queue.backoff.ms": 10}
        )
        self._consumer.assign(
            [TopicPartition(route.lane_topic(lane), number, 0) for lane in LANES for number in range(PARTITIONS)]
        )

    def first_under(self, digest: str) -> tuple[float, int]:
        """When the first record under the split came, and its epoch."""
        deadline = time.monotonic() + ALLOWED
        while time.monotonic() < deadline:
            if found := self._read(digest, 0.1):
                return found
        raise click.ClickException(f"no record under split {digest} within {ALLOWED:g} s")

    def skip(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._read("", left)

    def _read(self, digest: str, wait: float) -> tuple[float, int] | None:
        messages = self._consumer.consume(1, wait)
        at = time.monotonic()
        for message in messages + self._consumer.consume(5_000, 0):
            if message.error() is None:
                routing = parse_routing(message.headers())
                if routing.digest == digest:
                    return at, routing.epoch
        return None


def run(stack: Stack, sets: int, rate: int) -> dict[str, list[float]]:
    """Milliseconds after each SET."""
    settings = load_settings(flags={"bootstrap_servers": stack.bootstrap_servers, "redis_url": stack.redis_url})
    route = Route("bench-split")
    topics.apply(settings, route, PARTITIONS)
    environment = os.environ | {
        "STREAM_ROUTER_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
        "STREAM_ROUTER_REDIS_URL": stack.redis_url,
        "STREAM_ROUTER_LOG_FORMAT": "json",
    }
    feeder = multiprocessing.get_context("spawn").Process(
        target=feed, args=(stack.bootstrap_servers, route.topic("requests"), rate), daemon=True
    )
    command = [sys.executable, "-m", "stream_router", "route", "--route", route.name]
    reader, found = Reader(stack.bootstrap_servers, route), dict[str, list[float]]()
    router = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    log = Log(cast("IO[bytes]", router.stderr))
    try:
        feeder.start()
        with Redis.from_url(stack.redis_url) as redis:
            for number in range(-1, sets):  # the first brings everything up
                raw = json.dumps({"stable": 1 - (number + 2) / 1_000, "canary": (number + 2) / 1_000}).encode()
                began = time.monotonic()
                redis.set(route.key("split"), raw)
                seen, epoch = reader.first_under(digest_of(raw))
                if number >= 0:
                    found.setdefault("the router has it", []).append(1_000 * (log.has_since[epoch] - began))
                    found.setdefault("first record under it is seen", []).append(1_000 * (seen - began))
                reader.skip(random.uniform(*PAUSE) if number >= 0 else 5.0)
    finally:
        feeder.kill()
        router.send_signal(signal.SIGTERM)
        router.wait(30)
    return found


def table(found: dict[str, list[float]]) -> str:
    lines = ["| after a plain SET, ms | p50 | p99 | most |", "|---|---|---|---|"]
    for name, times in found.items():
        p50, p99 = np.quantile(times, [0.5, 0.99])
        lines.append(f"| {name} | {p50:.1f} | {p99:.1f} | {max(times):.1f} |")
    return "\n".join(lines)


def write(lines: str) -> None:
    """Between the marks of benchmarks/README.md."""
    page = Path(__file__).parent / "README.md"
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{lines}\n{END}{rest.split(END)[1]}")


@click.command(epilog="Example: python benchmarks/split.py --sets 50")
@click.option("--sets", default=300, show_default=True, help="Of one split after another.")
@click.option("--rate", default=2_000, show_default=True, help="Requests a second meanwhile.")
@click.option("--write", "writes", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(sets: int, rate: int, *, writes: bool) -> None:
    """One router under load on a local stack; prints quantiles."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, local_stack(Path(folder) / "stack") as stack:
        lines = table(run(stack, sets, rate))
    click.echo(lines)
    if writes:
        write(lines)


if __name__ == "__main__":
    main()
