"""Bytes that the monitor holds a row: a prediction that waits for its label.

python benchmarks/monitor_memory.py --help; `make bench-monitor` writes its table into benchmarks/README.md.
"""

import time

import click
import page
from measuring import resident_bytes
from pairs import Progress, Traffic, fill_pairs, put_in_force
from workbench import Workbench, monitor_command, workbench

UNLABELLED = Traffic(labelled=False)
GOAL = 200
"""Bytes a row, at most."""

_SETTLED = 5.0
"""Seconds after the last row until memory is looked at."""


def resident(bench: Workbench, rows: int) -> int:
    """Bytes of a monitor that holds so many."""
    with bench.route() as route:
        put_in_force(bench.brokers, route, UNLABELLED)
        fill_pairs(bench.brokers, route, rows, UNLABELLED)
        progress = Progress(bench, route, route.evidence_group)
        with bench.running(monitor_command(route)) as processes:
            for _ in bench.watched(processes, progress.records, rows):
                pass
            time.sleep(_SETTLED)
            found = resident_bytes(processes[0].pid)
        progress.close()
    return found


@click.command(epilog="Example: python benchmarks/monitor_memory.py --rows 100000 --rows 300000")
@click.option(
    "--rows", multiple=True, default=[500_000, 2_000_000], show_default=True, help="Twice or more, ascending."
)
@click.option("--write", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(rows: tuple[int, ...], *, write: bool) -> None:
    """A monitor with few rows, one with many; prints their resident memory and the difference a row."""
    with workbench() as bench:
        found = {count: resident(bench, count) for count in rows}
    each = (found[rows[-1]] - found[rows[0]]) / (rows[-1] - rows[0])
    lines = page.table(
        ["rows", "resident, MiB"], [[f"{count:,}", f"{held / 2**20:.0f}"] for count, held in found.items()]
    )
    lines += "\n\n" + page.goals([(f"at most {GOAL} bytes a row", f"{each:.0f}", each <= GOAL)])
    click.echo(lines)
    if write:
        page.write("bench-monitor-memory", lines)


if __name__ == "__main__":
    main()
