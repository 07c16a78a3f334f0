"""One monitor and two; few windows and many, with and without rows that wait: what a pair costs is to be the same.

python benchmarks/monitor_scaling.py --help; `make bench-monitor` writes its table into benchmarks/README.md.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import click
import page
from measuring import FIRST, Result, compared, interleaved, measured
from pairs import Progress, Traffic, fill_pairs, put_in_force
from workbench import PARTITIONS, Workbench, monitor_command, workbench

from stream_router.core.route import Route

GOAL = 1.1
"""CPU a pair against that of one monitor with few windows, at most."""


@dataclass(frozen=True)
class Variant:
    """`rows`: predictions that wait for their labels, as a multiple of the pairs, joined before.

    The windows follow each other, as in time, unless they come `at_once`: then each second of work touches all of them.
    """

    monitors: int = 1
    windows: int = 10
    at_once: bool = False
    rows: float = 0.0

    def traffic(self, pairs: int) -> Traffic:
        """Of so many pairs."""
        traffic = Traffic(windows=self.windows)
        return traffic if self.at_once else replace(traffic, each=max(1, pairs // self.windows))


VARIANTS = {
    "1 monitor, 10 windows": Variant(),
    "2 monitors": Variant(monitors=2),
    "1,000 windows": Variant(windows=1_000),
    "1,000 windows at once": Variant(windows=1_000, at_once=True),
    "twice as many rows": Variant(rows=2.0),
}


def run(bench: Workbench, variant: Variant, pairs: int) -> Result:
    """Of all monitors together, from when each has its part of the partitions."""
    with bench.route() as route:
        put_in_force(bench.brokers, route, Traffic())
        traffic = variant.traffic(pairs)
        progress, waiting = Progress(bench, route, route.evidence_group), round(pairs * variant.rows)
        if waiting:
            fill_pairs(bench.brokers, route, waiting, replace(traffic, labelled=False), first=pairs)
            with bench.running(monitor_command(route)) as processes:
                for _ in bench.watched(processes, progress.records, waiting):
                    pass
        fill_pairs(bench.brokers, route, pairs, traffic)
        commands = [monitor_command(route, "--worker", f"monitor-{number}") for number in range(variant.monitors)]
        samples, first = [], None
        with bench.running(*commands) as processes:
            for sample in bench.watched(processes, lambda: (progress.records() - waiting) // 2, pairs):
                samples.append(sample)
                if first is None and share_all(bench, route, variant.monitors):
                    first = max(FIRST, sample.records / pairs)
        progress.close()
    if first is None or first > 0.7:
        raise click.ClickException(
            f"{variant.monitors} monitors did not share the partitions in time: give more --pairs"
        )
    return measured(samples, pairs, first)


def share_all(bench: Workbench, route: Route, monitors: int) -> bool:
    """Whether each is a member that has its part of both inputs."""
    group = bench.admin.describe_consumer_groups([route.monitor_group])[route.monitor_group].result()
    parts = [len(member.assignment.topic_partitions) for member in group.members]
    return parts == [2 * PARTITIONS // monitors] * monitors


def goals(results: Mapping[str, Sequence[Result]]) -> str:
    """Of all but the first."""
    cpu = {name: statistics.median(result.cpu for result in found) for name, found in results.items()}
    reference, *others = cpu
    ratios = {name: cpu[name] / cpu[reference] for name in others}
    return page.goals([(f"{name}: CPU {GOAL} times", f"{found:.2f}", found <= GOAL) for name, found in ratios.items()])


@click.command(epilog="Example: python benchmarks/monitor_scaling.py --rounds 1 --pairs 300000")
@click.option("--rounds", default=3, show_default=True, help="Each runs every variant once.")
@click.option("--pairs", default=1_000_000, show_default=True, help="For each run.")
@click.option("--write", is_flag=True, help="Write the tables into benchmarks/README.md.")
def main(rounds: int, pairs: int, *, write: bool) -> None:
    """In interleaved rounds; prints rates and CPU of all monitors together."""
    with workbench() as bench:
        results = interleaved(list(VARIANTS), rounds, lambda name: run(bench, VARIANTS[name], pairs))
    lines = compared(results, next(iter(VARIANTS)), "pair") + "\n\n" + goals(results)
    click.echo(lines)
    if write:
        page.write("bench-monitor-scaling", lines)


if __name__ == "__main__":
    main()
