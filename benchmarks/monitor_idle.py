"""What the monitor and the broker cost where little comes.

python benchmarks/monitor_idle.py --help; `make bench-monitor` writes its table into benchmarks/README.md.
"""

import time

import click
import page
from load import beside
from measuring import cpu_seconds
from pairs import Traffic, feed_pairs, put_in_force
from workbench import Workbench, monitor_command, workbench

GOALS = {"monitor": 0.08, "broker": 0.15}
"""Shares of a core without a rollout, of the broker for the monitor and the producers together."""

SETTLED = 15.0
"""Seconds from the start of all until they are measured."""


def shares(bench: Workbench, seconds: float, rate: int) -> dict[str, float]:
    """Of one core; `without` is the broker's with the producers and without a monitor."""
    found = {}
    for name, traffic in {"": Traffic(), " in a rollout": Traffic(rollout=True)}.items():
        with bench.route() as route:
            put_in_force(bench.brokers, route, traffic)
            with beside(feed_pairs, bench.brokers, route, rate, traffic):
                found |= measure({f"without{name}": bench.broker_pid}, seconds)
                with bench.running(monitor_command(route)) as [monitor]:
                    found |= measure({f"monitor{name}": monitor.pid, f"broker{name}": bench.broker_pid}, seconds)
    return found


def measure(pids: dict[str, int], seconds: float) -> dict[str, float]:
    time.sleep(SETTLED)
    before, began = {name: cpu_seconds(pid) for name, pid in pids.items()}, time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    return {name: (cpu_seconds(pid) - before[name]) / passed for name, pid in pids.items()}


@click.command(epilog="Example: python benchmarks/monitor_idle.py --seconds 20")
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--rate", default=150, show_default=True, help="Pairs a second.")
@click.option("--write", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(seconds: float, rate: int, *, write: bool) -> None:
    """One monitor and few pairs on a local stack; prints shares of a core."""
    with workbench() as bench:
        found = shares(bench, seconds, rate)
    lines = page.goals(
        [(f"{name}: {goal:.0%} of a core", f"{found[name]:.1%}", found[name] <= goal) for name, goal in GOALS.items()]
    )
    lines += (
        f"\n\nWithout a monitor the broker took {found['without']:.1%} and {found['without in a rollout']:.1%}. While "
        "canary has a tenth, where a verdict does not wait for records to gather, it took "
        f"{found['broker in a rollout']:.1%} with a monitor, and the monitor {found['monitor in a rollout']:.1%}."
    )
    click.echo(lines)
    if write:
        page.write("bench-monitor-idle", lines)


if __name__ == "__main__":
    main()
