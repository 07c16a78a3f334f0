"""The router beside a bare consume-produce loop, Kafka Streams, quixstreams and a Faust agent, in interleaved rounds.

python benchmarks/router.py --help; `make bench-router` writes its table into benchmarks/README.md.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import page
from goals import RatioGoal, judged
from kafka_streams import KafkaStreams, why_not
from load import fill
from measuring import Result, compared, interleaved, measured
from quix import quix_command, quix_is_missing
from workbench import HERE, Workbench, lanes_of, router_command, workbench

from stream_router.core.route import Route

INTERVAL = 0.2
"""Seconds that a transaction stays open."""

BARE, BARE_OUR_MEMORY, ROUTER = "bare loop", "bare loop, our memory settings", "router"
STREAMS, STREAMS_2, QUIX = "Kafka Streams, 1 thread", "Kafka Streams, 2 threads", "quixstreams"
GOALS = (
    RatioGoal("rate", ROUTER, BARE, least=0.95),
    RatioGoal("cpu", ROUTER, BARE, most=1.1),
    RatioGoal("rate", ROUTER, BARE_OUR_MEMORY, least=0.95),
    RatioGoal("cpu", ROUTER, BARE_OUR_MEMORY, most=1.1),
    RatioGoal("rate", ROUTER, STREAMS_2, least=1.2),
    RatioGoal("cpu", ROUTER, STREAMS_2, most=0.6),
    RatioGoal("rate", ROUTER, QUIX, least=8),
)


@dataclass(frozen=True)
class Variant:
    """`command` is given the brokers and the route; `share` of the records are enough for a slow one, whose figures are
    of a record; `lanes`: how many of a route's it writes.
    """

    command: Callable[[str, Route], list[str]]
    share: float = 1.0
    lanes: int = 2


def bare(_brokers: str, route: Route, *options: str) -> list[str]:
    script, names = HERE / "bare_loop.py", (route.topic("requests"), route.lane_topic("stable"))
    return [sys.executable, str(script), *names, str(INTERVAL), *options]


def bare_our_memory(brokers: str, route: Route) -> list[str]:
    return bare(brokers, route, "--our-memory")


def router(_brokers: str, route: Route) -> list[str]:
    return router_command(route, "--interval", str(INTERVAL))


def quixstreams(brokers: str, route: Route) -> list[str]:
    return quix_command("quix_router.py", brokers, route.topic("requests"), *lanes_of(route), str(INTERVAL))


def faust_agent(brokers: str, route: Route) -> list[str]:
    return [sys.executable, str(HERE / "faust_agent.py"), brokers, route.topic("requests"), *lanes_of(route)]


def variants(folder: Path) -> dict[str, Variant]:
    """Those that can run here, from fast to slow; says which cannot."""
    found = {
        BARE: Variant(bare, lanes=1),
        BARE_OUR_MEMORY: Variant(bare_our_memory, lanes=1),
        ROUTER: Variant(router),
    }
    if reason := why_not():
        click.echo(f"Kafka Streams is skipped: {reason}", err=True)
    else:
        streams = KafkaStreams(folder, "StreamsRouter")
        found |= {STREAMS: with_threads(streams, 1), STREAMS_2: with_threads(streams, 2)}
    if reason := quix_is_missing():
        click.echo(f"quixstreams is skipped: {reason}", err=True)
    else:
        found[QUIX] = Variant(quixstreams, share=1 / 10)
    return found | {"Faust agent": Variant(faust_agent, share=1 / 50)}


def with_threads(streams: KafkaStreams, threads: int) -> Variant:
    return Variant(lambda brokers, route: streams.command(brokers, route.name, threads, round(INTERVAL * 1000)))


def run(bench: Workbench, variant: Variant, records: int) -> Result:
    """On topics of its own."""
    records = round(records * variant.share)
    with bench.route() as route:
        fill(bench.brokers, route.topic("requests"), records)
        with bench.running(variant.command(bench.brokers, route)) as processes:
            samples = list(bench.samples(processes, lanes_of(route)[: variant.lanes], records))
    return measured(samples, records)


@click.command(epilog="Example: python benchmarks/router.py --rounds 3 --records 500000")
@click.option("--rounds", default=7, show_default=True, help="Each runs every variant once.")
@click.option("--records", default=2_000_000, show_default=True, help="Of 200 bytes, for each run of a fast variant.")
@click.option("--write", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(rounds: int, records: int, *, write: bool) -> None:
    """Router, bare loop and others in interleaved rounds; prints medians and ratios."""
    with workbench() as bench:
        competing = variants(bench.folder)
        results = interleaved(list(competing), rounds, lambda name: run(bench, competing[name], records))
    lines = judged(compared(results, BARE, "record"), [goal.judge(results) for goal in GOALS])
    click.echo(lines)
    if write:
        page.write("bench-router", lines)


if __name__ == "__main__":
    main()
