"""How soon a router obeys: a plain SET, a rollback in Kafka, and a Redis that answers again.

python benchmarks/split.py --help; `make bench-split` writes its table into benchmarks/README.md.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from typing import IO, Any, Final, cast

import click
import page
from confluent_kafka import Producer
from load import beside, feed
from redis import Redis
from redis.exceptions import RedisError
from workbench import Workbench, committed_reader, lanes_of, router_command, workbench

from stream_router.adapters.avro.records import encode_rollout_event
from stream_router.core.rollout.rollout_event import ROLLBACK, RolloutEvent
from stream_router.core.route import Route
from stream_router.core.routing.header import Headers, parse_routing
from stream_router.core.routing.split import digest_of
from stream_router.local.valkey import Valkey

PAUSE: Final = 0.05, 0.25
"""Seconds between the first record under a split and the next SET, drawn evenly: no timer is met in step."""

ALLOWED: Final = 60.0
"""Seconds that anything may take before the run counts as failed."""

SETTLED: Final = 5.0
"""Seconds from the first record that is seen until anything is measured."""

HAS: Final = "plain SET: the router has it"
SEEN: Final = "plain SET: first record under it is seen"
ROLLED_BACK: Final = "rollback in Kafka: the router has it"
ROLLED_BACK_ALONE: Final = "rollback in Kafka, Redis stopped: the router has it"
GOES_ON: Final = "SET once a stopped Redis goes on: the router has it"
RESTARTED: Final = "SET once an emptied Redis answers: the router has it"
GOALS: Final[dict[str, dict[page.Statistic, float]]] = {
    HAS: {"p99": 5},
    SEEN: {"p50": 30, "p99": 100},
    ROLLED_BACK: {"p99": 100},
    ROLLED_BACK_ALONE: {"p99": 100},
    GOES_ON: {"most": 1_000},
    RESTARTED: {"most": 1_000},
}
"""Milliseconds."""


class Log:
    """The router's lines as they come, read by a thread. Times are the lines' own, in seconds since the epoch."""

    def __init__(self, lines: IO[bytes]) -> None:
        self._read: list[dict[str, Any]] = []
        self._news = threading.Condition()
        threading.Thread(target=self._follow, args=[lines], daemon=True).start()

    def time_of(self, event: str, **fields: object) -> float:
        """Of the first line of this event with these fields, which may be yet to come."""

        def found() -> dict[str, Any] | None:
            wanted = {"event": event} | fields
            return next((line for line in self._read if wanted.items() <= line.items()), None)

        with self._news:
            line = self._news.wait_for(found, ALLOWED)
        if line is None:
            raise click.ClickException(f"the router has not said {event!r} with {fields} within {ALLOWED:g} s")
        return datetime.fromisoformat(line["timestamp"]).timestamp()

    def _follow(self, lines: IO[bytes]) -> None:
        for line in lines:
            with self._news:
                self._read.append(json.loads(line))
                self._news.notify_all()


class Reader:
    """Sees what is committed in both lanes."""

    def __init__(self, brokers: str, route: Route) -> None:
        self._consumer = committed_reader(brokers, lanes_of(route))

    def first_under(self, raw: bytes) -> float:
        """When the first record under the split came, in seconds since the epoch."""
        digest, deadline = digest_of(raw), time.monotonic() + ALLOWED
        while time.monotonic() < deadline:
            if found := self._read(digest, 0.1):
                return found
        raise click.ClickException(f"no record under split {raw!r} within {ALLOWED:g} s")

    def skip(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._read("", left)

    def _read(self, digest: str, wait: float) -> float | None:
        messages = self._consumer.consume(1, wait)
        at = time.time()
        for message in messages + self._consumer.consume(5_000, 0):
            if message.error() is None and parse_routing(cast("Headers", message.headers())).digest == digest:
                return at
        return None


class Run:
    """One router under load."""

    def __init__(self, bench: Workbench, route: Route, redis: Redis, log: Log) -> None:
        self._route, self._redis, self._log = route, redis, log
        self._reader = Reader(bench.brokers, route)
        self._producer = Producer({"bootstrap.servers": bench.brokers, "linger.ms": 0})
        self._valkey = Valkey(bench.stack.data / "redis")
        self._weights = (number / 10_000 for number in count(1))
        self._found = dict[str, list[float]]()

    def measure(self, sets: int, faults: int) -> dict[str, list[float]]:
        """Milliseconds."""
        self._reader.first_under(self._set()[0])
        self._reader.skip(SETTLED)
        for _ in range(sets):
            began = time.time()
            raw, weight = self._set()
            self._note(SEEN, began, self._reader.first_under(raw))
            self._note(HAS, began, self._log.time_of("split in force", canary=weight))
            self._reader.skip(random.uniform(*PAUSE))
        for rollout in range(1, 2 * faults, 2):
            self._note(ROLLED_BACK, *self._roll_back(rollout))
            self._begin_rollout(rollout + 1)
            with self._stopped():
                self._note(ROLLED_BACK_ALONE, *self._roll_back(rollout + 1))
            self._begin_rollout(rollout + 2)
        for _ in range(faults):
            with self._stopped():
                time.sleep(random.uniform(0, 2))
            self._note(GOES_ON, *self._set_and_obeyed())
        for _ in range(faults):
            self._restart_empty()
            self._note(RESTARTED, *self._set_and_obeyed())
        return {name: self._found[name] for name in GOALS if name in self._found}

    def _note(self, name: str, began: float, ended: float) -> None:
        self._found.setdefault(name, []).append(1_000 * (ended - began))

    def _set(self) -> tuple[bytes, float]:
        """A split of which there was none before, and canary's weight in it."""
        weight = next(self._weights)
        raw = json.dumps({"stable": 1 - weight, "canary": weight}).encode()
        self._redis.set(self._route.key("split"), raw)
        return raw, weight

    def _set_and_obeyed(self) -> tuple[float, float]:
        began = time.time()
        return began, self._log.time_of("split in force", canary=self._set()[1])

    def _roll_back(self, rollout: int) -> tuple[float, float]:
        """When it was sent, and when the router had it."""
        time.sleep(random.uniform(0, 1))
        event = RolloutEvent(
            kind=ROLLBACK, rollout=rollout, epoch=1, digest="", verdict="unhealthy", reason="worse", decided_at=1
        )
        began = time.time()
        self._producer.produce(self._route.topic("rollout-events"), encode_rollout_event(event), b"1")
        self._producer.flush()
        return began, self._log.time_of("rollback", rollout=rollout)

    def _begin_rollout(self, rollout: int) -> None:
        """After the one before was rolled back."""
        self._log.time_of("split in force", rollout=rollout - 1, canary=0.0)
        self._redis.set(self._route.key("release"), rollout - 1)
        self._log.time_of("split in force", rollout=rollout, canary=self._set()[1])

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        """With a Redis that keeps its connections, and answers nothing."""
        pid = self._redis.info("server")["process_id"]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def _restart_empty(self) -> None:
        """Returns as soon as it answers."""
        self._valkey.daemon.stop(ALLOWED)
        shutil.rmtree(self._valkey.daemon.folder / "appendonlydir")
        self._valkey.start(self._redis.connection_pool.connection_kwargs["port"])
        while True:
            try:
                self._redis.ping()
            except RedisError:
                time.sleep(0.001)
            else:
                return


def run(bench: Workbench, sets: int, faults: int, rate: int) -> dict[str, list[float]]:
    """Milliseconds, by what GOALS names."""
    settings = {"STREAM_ROUTER_LOG_FORMAT": "json", "STREAM_ROUTER_LOG_LEVEL": "info"}
    with (
        bench.route() as route,
        bench.redis() as redis,
        bench.running(router_command(route), stderr=subprocess.PIPE, **settings) as [router],
        beside(feed, bench.brokers, route.topic("requests"), rate),
    ):
        return Run(bench, route, redis, Log(cast("IO[bytes]", router.stderr))).measure(sets, faults)


@click.command(epilog="Example: python benchmarks/split.py --sets 50 --faults 5")
@click.option("--sets", default=300, show_default=True, help="Of one split after another.")
@click.option("--faults", default=20, show_default=True, help="Of each kind: rollbacks, stops and ends of Redis.")
@click.option("--rate", default=2_000, show_default=True, help="Requests a second meanwhile.")
@click.option("--write", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(sets: int, faults: int, rate: int, *, write: bool) -> None:
    """One router under load on a local stack; prints quantiles."""
    with workbench() as bench:
        lines = page.quantiles("ms", run(bench, sets, faults, rate), GOALS)
    click.echo(lines)
    if write:
        page.write("bench-split", lines)


if __name__ == "__main__":
    main()
