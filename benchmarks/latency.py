"""How much later a request is seen in its lane than in the topic that it was sent to.

python benchmarks/latency.py --help; `make bench-router-more` writes its table into benchmarks/README.md.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import click
import page
from load import beside, feed, stamp_of
from workbench import Workbench, committed_reader, lanes_of, router_command, workbench

SETTLED = 10.0
"""Seconds from the first request until they are measured."""

ADDED: Final = "added"
GOAL: Final[dict[page.Statistic, float]] = {"p50": 30, "p99": 100}
"""Milliseconds."""

Arrivals = dict[int, float]
"""Of each request's number, milliseconds after it was sent."""


def arrivals(brokers: str, names: Sequence[str], stop: threading.Event) -> Arrivals:
    """Of the requests in these topics, as a reader of committed records sees them."""
    consumer, seen = committed_reader(brokers, names), Arrivals()
    while not stop.is_set():
        messages = consumer.consume(1, 0.1)
        if messages:
            messages += consumer.consume(5_000, 0)
        at = time.monotonic_ns()
        for message in messages:
            if message.error() is None:
                number, sent_at = stamp_of(message.value() or b"")
                seen[number] = (at - sent_at) / 1e6
    consumer.close()
    return seen


def run(bench: Workbench, seconds: float, rate: int) -> dict[str, list[float]]:
    """Milliseconds of each request."""
    stop = threading.Event()
    with bench.route() as route, bench.running(router_command(route)), ThreadPoolExecutor() as readers:
        source, lanes = (
            readers.submit(arrivals, bench.brokers, names, stop)
            for names in ([route.topic("requests")], lanes_of(route))
        )
        try:
            with beside(feed, bench.brokers, route.topic("requests"), rate):
                time.sleep(SETTLED + seconds)
                stop.set()
        finally:
            stop.set()
        first = round(rate * SETTLED)
        there = sorted(number for number in source.result().keys() & lanes.result().keys() if number >= first)
        if not there:
            raise click.ClickException("no request that counts was seen in its lane in time: give more --seconds")
        sent, routed = ([found.result()[number] for number in there] for found in (source, lanes))
    return {
        "seen in the source": sent,
        "seen in its lane": routed,
        ADDED: [late - early for late, early in zip(routed, sent, strict=True)],
    }


@click.command(epilog="Example: python benchmarks/latency.py --seconds 10")
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--rate", default=2_000, show_default=True, help="Requests a second.")
@click.option("--write", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(seconds: float, rate: int, *, write: bool) -> None:
    """One router under load on a local stack; prints quantiles."""
    with workbench() as bench:
        found = run(bench, seconds, rate)
    lines = page.quantiles("of a request, ms after it was sent", found, {ADDED: GOAL})
    click.echo(lines)
    if write:
        page.write("bench-latency", lines)


if __name__ == "__main__":
    main()
