"""How long after SIGKILL a monitor with many rows joins again.

python benchmarks/monitor_return.py --help; `make bench-monitor` writes its table into benchmarks/README.md.
"""

import signal
import time
from pathlib import Path

import click
import page
from pairs import Progress, Traffic, fill_pairs, put_in_force
from workbench import Workbench, monitor_command, workbench

from stream_router.settings import Settings

UNLABELLED, PAIRS = Traffic(labelled=False), Traffic()
GOALS = {"an empty disk": 60.0, "its disk": 15.0}
"""Seconds, by what the second monitor finds."""

ROWS = 2_000_000
"""Of the goals."""

_PROBES = 200
"""Pairs that come while there is no monitor: some in each partition."""

_KEPT_WITHIN = 10.0
"""Seconds in which a monitor may bring what it holds to its disk before it is killed."""

_ALLOWED = 600.0
"""Seconds until it joins again."""


def seconds(bench: Workbench, rows: int, first: Path, second: Path) -> float:
    """From the start of the second monitor until it has joined what came while there was none; with a folder each."""
    with bench.route() as route:
        put_in_force(bench.brokers, route, UNLABELLED)
        fill_pairs(bench.brokers, route, rows, UNLABELLED)
        progress = Progress(bench, route, route.evidence_group)
        with bench.running(monitor_command(route), **kept_in(first)) as processes:
            for _ in bench.watched(processes, progress.records, rows):
                pass
            time.sleep(_KEPT_WITHIN)
            processes[0].send_signal(signal.SIGKILL)
            processes[0].wait()
        fill_pairs(bench.brokers, route, _PROBES, PAIRS, first=rows)
        begun = time.monotonic()
        with bench.running(monitor_command(route), **kept_in(second)) as processes:
            *_, last = bench.watched(processes, progress.records, rows + 2 * _PROBES, _ALLOWED)
        progress.close()
    return last.at - begun


def kept_in(folder: Path) -> dict[str, str]:
    """The environment of a monitor."""
    return {"STREAM_ROUTER_STATE_FOLDER": str(folder)} if has_disk() else {}


def has_disk() -> bool:
    """Whether monitors keep anything."""
    return "state_folder" in Settings.model_fields


@click.command(epilog="Example: python benchmarks/monitor_return.py --rows 100000")
@click.option("--rows", default=ROWS, show_default=True, help="Predictions that wait for their labels.")
@click.option("--write", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(rows: int, *, write: bool) -> None:
    """One monitor on a local stack, killed, and its successor; prints seconds until this joins."""
    found = {}
    with workbench() as bench:
        folder = bench.folder / "kept"
        found["an empty disk"] = seconds(bench, rows, folder / "first", folder / "second")
        if has_disk():
            found["its disk"] = seconds(bench, rows, folder / "third", folder / "third")
        else:
            click.echo("with its disk is skipped: a monitor keeps nothing there", err=True)
    lines = page.goals(
        [
            (f"{rows:,} rows, {what}: {GOALS[what]:g} s", f"{took:.1f}", took <= GOALS[what])
            for what, took in found.items()
        ]
    )
    click.echo(lines)
    if write:
        page.write("bench-monitor-return", lines)


if __name__ == "__main__":
    main()
