"""The monitor beside joins of Kafka Streams and quixstreams and a Faust agent that does nothing, in interleaved rounds.

python benchmarks/monitor.py --help; `make bench-monitor` writes its tables into benchmarks/README.md.
"""

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import page
from kafka_streams import KafkaStreams, why_not
from measuring import Result, compared, interleaved, measured
from pairs import Progress, Traffic, fill_pairs, put_in_force
from quix import quix_command, quix_is_missing
from workbench import HERE, Workbench, monitor_command, workbench

from stream_router.adapters.avro.evidence import decode_evidence
from stream_router.adapters.kafka.polling import TopicReader
from stream_router.core.route import Route

INTERVAL = 0.2
"""Seconds that a transaction of the others stays open."""

RATE, CPU = 45_000, 20.0
"""Goals: pairs a second, and CPU microseconds a pair."""

PLAIN = Traffic()
MONITORS = {"monitor": PLAIN, "monitor, rollout running": Traffic(rollout=True)}


@dataclass(frozen=True)
class Variant:
    """`command` is given the brokers and the route, `group` is its own; `share` of the pairs are enough for a slow one.
    `joined` counts the pairs that it says it has joined.
    """

    command: Callable[[str, Route], list[str]]
    group: Callable[[Route], str]
    joined: Callable[[Workbench, Route], int] | None
    traffic: Traffic = PLAIN
    share: float = 1.0


def monitors() -> dict[str, Variant]:
    return {name: monitor(traffic) for name, traffic in MONITORS.items()}


def monitor(traffic: Traffic) -> Variant:
    return Variant(
        lambda _brokers, route: monitor_command(route), lambda route: route.evidence_group, labelled, traffic
    )


def labelled(bench: Workbench, route: Route) -> int:
    """By R.evidence."""
    reader = TopicReader(bench.settings, route.topic("evidence"), {0: 0})
    try:
        end = {0: bench.committed([route.topic("evidence")], 1)}
        records = [decode_evidence(record.value()) for record in reader.read_to(end)]
    finally:
        reader.close()
    return sum(count.labelled for record in records for count in record.counts)


def written(bench: Workbench, route: Route) -> int:
    """Into the topic that the others are given. Its offsets count markers of transactions as well, so read them."""
    reader = TopicReader(bench.settings, route.lane_topic("stable"), dict.fromkeys(range(8), 0))
    try:
        ends = {partition: bench.end(route.lane_topic("stable"), partition) for partition in range(8)}
        return sum(1 for _ in reader.read_to(ends))
    finally:
        reader.close()


def inputs_and_output(route: Route) -> tuple[str, str, str]:
    return route.topic("predictions"), route.topic("ground-truth"), route.lane_topic("stable")


def quixstreams(brokers: str, route: Route) -> list[str]:
    return quix_command("quix_join.py", brokers, *inputs_and_output(route), str(INTERVAL))


def faust_agents(brokers: str, route: Route) -> list[str]:
    return [sys.executable, str(HERE / "faust_agents.py"), brokers, *inputs_and_output(route)[:2]]


def variants(folder: Path) -> dict[str, Variant]:
    """Those that can run here, from fast to slow; says which cannot."""
    found = monitors()
    if reason := why_not():
        click.echo(f"Kafka Streams is skipped: {reason}", err=True)
    else:
        streams = KafkaStreams(folder, "StreamsJoin")
        found["Kafka Streams join"] = Variant(
            lambda brokers, route: streams.command(brokers, route.name, 2, round(INTERVAL * 1000)),
            lambda route: f"{route.name}.streams",
            written,
            share=1 / 3,
        )
    if reason := quix_is_missing():
        click.echo(f"quixstreams is skipped: {reason}", err=True)
    else:
        found["quixstreams join"] = Variant(
            quixstreams, lambda route: f"{route.topic('predictions')}.quix", written, share=1 / 20
        )
    faust = Variant(faust_agents, lambda route: f"{route.topic('predictions')}.faust", None, share=1 / 20)
    return found | {"Faust agents that do nothing": faust}


def run(bench: Workbench, variant: Variant, pairs: int) -> Result:
    """On topics of its own. Raises ClickException where not each pair was joined once."""
    pairs = round(pairs * variant.share)
    with bench.route() as route:
        put_in_force(bench.brokers, route, variant.traffic)
        fill_pairs(bench.brokers, route, pairs, variant.traffic)
        progress = Progress(bench, route, variant.group(route))
        with bench.running(variant.command(bench.brokers, route)) as processes:
            samples = list(bench.watched(processes, progress.pairs, pairs))
        progress.close()
        if variant.joined is not None and (joined := variant.joined(bench, route)) != pairs:
            raise click.ClickException(f"{processes[0].args!r} joined {joined} of {pairs} pairs")
    return measured(samples, pairs)


def goals(results: Mapping[str, Sequence[Result]]) -> str:
    """Of the monitors."""
    found = []
    for name in MONITORS:
        rate, cpu = (statistics.median(getattr(result, field) for result in results[name]) for field in ("rate", "cpu"))
        found.append((f"{name}: {RATE:,} pairs/s", f"{rate:,.0f}", rate >= RATE))
        found.append((f"{name}: {CPU:g} us CPU a pair", f"{cpu:.1f}", cpu <= CPU))
    return page.goals(found)


@click.command(epilog="Example: python benchmarks/monitor.py --rounds 3 --pairs 300000")
@click.option("--rounds", default=5, show_default=True, help="Each runs every variant once.")
@click.option("--pairs", default=1_000_000, show_default=True, help="For each run of a fast variant.")
@click.option("--monitors-only", is_flag=True, help="Without the others.")
@click.option("--write", is_flag=True, help="Write the tables into benchmarks/README.md.")
def main(rounds: int, pairs: int, *, monitors_only: bool, write: bool) -> None:
    """Pairs of a prediction and its label joined, in interleaved rounds; prints medians and ratios."""
    with workbench() as bench:
        competing = monitors() if monitors_only else variants(bench.folder)
        results = interleaved(list(competing), rounds, lambda name: run(bench, competing[name], pairs))
    lines = compared(results, "monitor", "pair") + "\n\n" + goals(results)
    click.echo(lines)
    if write:
        page.write("bench-monitor", lines)


if __name__ == "__main__":
    main()
