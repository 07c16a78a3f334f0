"""What a scoring job costs beside its model: one with a constant model, and quixstreams doing the same.

python benchmarks/scoring.py --help; `make bench-score` writes its table into benchmarks/README.md.
"""

import json
import statistics
import sys
from collections.abc import Callable

import click
import page
from goals import Goal, judged
from load import Outgoing, fill
from measuring import Result, compared, interleaved, measured
from quix import quix_command, quix_is_missing
from workbench import Workbench, workbench

from stream_router.core.route import Route
from stream_router.core.routing.header import HEADER, Routing

BATCH = 256
INTERVAL = 0.2
"""Seconds that a transaction stays open: a scoring job's own."""

HEADERS: list[tuple[str, str | bytes | None]] = [(HEADER, Routing(1, "1f3a9c0b77d2", 3, 1_795_420_000_123).encode())]
JOB = "scoring job"
GOAL = Goal(f"CPU us a request of the {JOB}", most=25, form=".1f")
Command = Callable[[str, Route], list[str]]


def request(number: int) -> Outgoing:
    """A JSON object of 200 bytes or so, routed."""
    row = {"request_id": f"{number:032x}"} | {f"feature_{place}": 0.125 * place for place in range(8)}
    return json.dumps(row).encode(), HEADERS


def scoring_job(_brokers: str, route: Route) -> list[str]:
    options = {"route": route.name, "lane": "canary", "model": "constant_model:load", "model-version": "7"}
    given = [part for name, value in options.items() for part in (f"--{name}", value)]
    return [sys.executable, "-m", "stream_router", "score", *given, "--max-batch", str(BATCH)]


def quixstreams(brokers: str, route: Route) -> list[str]:
    topics = route.lane_topic("canary"), route.topic("predictions")
    return quix_command("quix_scorer.py", brokers, *topics, str(INTERVAL))


def variants() -> dict[str, Command]:
    """Those that can run here; says which cannot."""
    found: dict[str, Command] = {JOB: scoring_job}
    if reason := quix_is_missing():
        click.echo(f"quixstreams is skipped: {reason}", err=True)
        return found
    return found | {"quixstreams": quixstreams}


def run(bench: Workbench, command: Command, requests: int) -> Result:
    """On topics of its own."""
    with bench.route() as route:
        fill(bench.brokers, route.lane_topic("canary"), requests, request)
        with bench.running(command(bench.brokers, route)) as processes:
            samples = list(bench.samples(processes, [route.topic("predictions")], requests))
    return measured(samples, requests)


@click.command(epilog="Example: python benchmarks/scoring.py --rounds 3")
@click.option("--rounds", default=7, show_default=True, help="Each runs every variant once.")
@click.option("--requests", default=300_000, show_default=True, help="For each run.")
@click.option("--write", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(rounds: int, requests: int, *, write: bool) -> None:
    """A scoring job and quixstreams in interleaved rounds; prints medians and ratios."""
    with workbench() as bench:
        competing = variants()
        results = interleaved(list(competing), rounds, lambda name: run(bench, competing[name], requests))
    own = statistics.median(result.cpu for result in results[JOB])
    lines = judged(compared(results, JOB, "request"), [GOAL.judge(own)])
    click.echo(lines)
    if write:
        page.write("bench-score", lines)


if __name__ == "__main__":
    main()
