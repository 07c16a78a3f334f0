"""One, two and four routers on 16 partitions.

python benchmarks/scaling.py --help; `make bench-router-more` writes its table into benchmarks/README.md.
"""

import click
import page
from goals import RatioGoal, judged
from load import fill
from measuring import FIRST, Result, compared, interleaved, measured
from workbench import Workbench, lanes_of, router_command, workbench

from stream_router.core.route import Route

PARTITIONS = 16
ROUTERS = {f"{number} router{'s' * (number > 1)}": number for number in (1, 2, 4)}
ALONE, *SEVERAL = ROUTERS
GOALS = [RatioGoal("cpu", name, ALONE, most=1.1) for name in SEVERAL]


def run(bench: Workbench, routers: int, records: int) -> Result:
    """Together, from when each has its part of the partitions."""
    with bench.route(PARTITIONS) as route:
        fill(bench.brokers, route.topic("requests"), records)
        commands = [router_command(route, "--instance", f"router-{number}") for number in range(routers)]
        with bench.running(*commands) as processes:
            samples, first = [], None
            for sample in bench.samples(processes, lanes_of(route), records, PARTITIONS):
                samples.append(sample)
                if first is None and share_all(bench, route, routers):
                    first = max(FIRST, sample.records / records)
    if first is None or first > 0.7:
        raise click.ClickException(f"{routers} routers did not share the partitions in time: give more --records")
    return measured(samples, records, first)


def share_all(bench: Workbench, route: Route, routers: int) -> bool:
    """Whether each is a member that has its part."""
    group = bench.admin.describe_consumer_groups([route.router_group])[route.router_group].result()
    parts = [len(member.assignment.topic_partitions) for member in group.members]
    return parts == [PARTITIONS // routers] * routers


@click.command(epilog="Example: python benchmarks/scaling.py --rounds 1")
@click.option("--rounds", default=3, show_default=True, help="Each runs every number of routers once.")
@click.option("--records", default=3_000_000, show_default=True, help="Of 200 bytes, for each run.")
@click.option("--write", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(rounds: int, records: int, *, write: bool) -> None:
    """In interleaved rounds; prints rates and CPU of all routers together."""
    with workbench() as bench:
        results = interleaved(list(ROUTERS), rounds, lambda name: run(bench, ROUTERS[name], records))
    lines = judged(compared(results, ALONE, "record"), [goal.judge(results) for goal in GOALS])
    click.echo(lines)
    if write:
        page.write("bench-scaling", lines)


if __name__ == "__main__":
    main()
