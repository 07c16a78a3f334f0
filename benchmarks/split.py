"""How long a plain SET takes: until the router has the split, and until a reader sees the first record under it.

python benchmarks/split.py --help; `make bench-split` writes its table into benchmarks/README.md.
"""

import json
import random
import subprocess
import threading
import time
from typing import IO, cast

import click
import page
from load import beside, feed
from workbench import Workbench, committed_reader, lanes_of, router_command, workbench

from stream_router.core.route import Route
from stream_router.core.routing.header import Headers, parse_routing
from stream_router.core.routing.split import digest_of

PAUSE = 0.05, 0.25
"""Seconds between the first record under a split and the next SET, drawn evenly: no timer is met in step."""

ALLOWED = 60.0
"""Seconds that a split may take before the run counts as failed."""


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
        self._consumer = committed_reader(brokers, lanes_of(route))

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
                routing = parse_routing(cast("Headers", message.headers()))
                if routing.digest == digest:
                    return at, routing.epoch
        return None


def run(bench: Workbench, sets: int, rate: int) -> dict[str, list[float]]:
    """Milliseconds after each SET."""
    found = dict[str, list[float]]()
    settings = {"STREAM_ROUTER_LOG_FORMAT": "json", "STREAM_ROUTER_LOG_LEVEL": "info"}
    with (
        bench.route() as route,
        bench.redis() as redis,
        bench.running(router_command(route), stderr=subprocess.PIPE, **settings) as [router],
        beside(feed, bench.brokers, route.topic("requests"), rate),
    ):
        reader, log = Reader(bench.brokers, route), Log(cast("IO[bytes]", router.stderr))
        for number in range(-1, sets):  # the first brings everything up
            raw = json.dumps({"stable": 1 - (number + 2) / 1_000, "canary": (number + 2) / 1_000}).encode()
            began = time.monotonic()
            redis.set(route.key("split"), raw)
            seen, epoch = reader.first_under(digest_of(raw))
            if number >= 0:
                found.setdefault("the router has it", []).append(1_000 * (log.has_since[epoch] - began))
                found.setdefault("first record under it is seen", []).append(1_000 * (seen - began))
            reader.skip(random.uniform(*PAUSE) if number >= 0 else 5.0)
    return found


@click.command(epilog="Example: python benchmarks/split.py --sets 50")
@click.option("--sets", default=300, show_default=True, help="Of one split after another.")
@click.option("--rate", default=2_000, show_default=True, help="Requests a second meanwhile.")
@click.option("--write", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(sets: int, rate: int, *, write: bool) -> None:
    """One router under load on a local stack; prints quantiles."""
    with workbench() as bench:
        lines = page.quantiles("after a plain SET, ms", run(bench, sets, rate))
    click.echo(lines)
    if write:
        page.write("bench-split", lines)


if __name__ == "__main__":
    main()
