"""What a router costs to which no request comes.

python benchmarks/idle.py --help; `make bench-router-more` writes its table into benchmarks/README.md.
"""

import time

import click
import page
from goals import Goal, goals_table
from measuring import cpu_seconds
from workbench import Workbench, router_command, workbench

SETTLED = 10.0
"""Seconds from the start of the router until it is measured."""


def share(bench: Workbench, seconds: float) -> float:
    """Of one core."""
    with bench.route() as route, bench.running(router_command(route)) as [router]:
        time.sleep(SETTLED)
        before, began = cpu_seconds(router.pid), time.monotonic()
        time.sleep(seconds)
        return (cpu_seconds(router.pid) - before) / (time.monotonic() - began)


@click.command(epilog="Example: python benchmarks/idle.py --seconds 10")
@click.option("--seconds", default=30.0, show_default=True)
@click.option("--write", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(seconds: float, *, write: bool) -> None:
    """One router without traffic on a local stack; prints its share of a core."""
    with workbench() as bench:
        found = share(bench, seconds)
    goal = Goal(f"share of a core in {seconds:g} s without a request", most=0.03, form=".1%")
    lines = goals_table([goal.judge(found)])
    click.echo(lines)
    if write:
        page.write("bench-idle", lines)


if __name__ == "__main__":
    main()
