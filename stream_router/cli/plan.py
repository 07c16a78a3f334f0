"""stream-router plan"""

import json
from collections.abc import Iterable
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import track

from stream_router.cli.common import example, output_option, policy_option, settings_options
from stream_router.cli.durations import DurationType
from stream_router.core.deciding.plan import Plan, Run, faults, forecast, simulate
from stream_router.errors import SettingError
from stream_router.settings import Settings, policy_of
from stream_router.views import plan as view


@click.command(
    name="plan",
    epilog=example(
        "stream-router plan --drop 0.05 --share 0.1 --rate 50 --label-delay 2h",
        "stream-router plan --drop 0.01 --share 0.05 --rate 500 --label-delay 1d --labelled 0.3 --output json",
    ),
)
@settings_options
@click.option("--drop", type=float, required=True, help="How much lower canary's accuracy is that must be found.")
@click.option("--share", type=float, required=True, help="Canary's share of the requests, such as 0.1.")
@click.option("--rate", type=float, required=True, help="Requests of both lanes a second.")
@click.option("--label-delay", type=DurationType(), required=True, help="From a request to its label, such as 2h.")
@click.option("--accuracy", type=float, default=0.9, show_default=True, help="Stable's accuracy.")
@click.option("--labelled", type=float, default=1.0, show_default=True, help="Part of the requests that get a label.")
@click.option("--runs", type=click.IntRange(min=10), default=300, show_default=True, help="Simulated rollouts each.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same answer.")
@policy_option
@output_option
def command(settings: Settings, runs: int, seed: int, output: str, **planned: Any) -> None:
    """How long a rollout takes: labels, time and requests until a drop is found or a good canary is passed.

    Simulates rollouts with the tests that decide them, under the policy. No server is asked.
    """
    plan = Plan(policy=policy_of(settings), **planned)
    if wrong := list(faults(plan)):
        raise SettingError("; ".join(wrong))
    rng = np.random.default_rng(seed)
    bad = _shown(simulate(plan, plan.drop, runs, rng), runs, "a bad canary")
    good = _shown(simulate(plan, 0.0, runs, rng), runs, "a good canary")
    found = forecast(plan, bad, good)
    if output == "json":
        click.echo(json.dumps(view.document(plan, found)))
    else:
        for line in view.lines(plan, found):
            click.echo(line)


def _shown(runs: Iterable[Run], total: int, what: str) -> list[Run]:
    """All of them, with a bar on a terminal."""
    console = Console(stderr=True)
    return list(
        track(runs, f"Simulating {what}", total, console=console, transient=True, disable=not console.is_interactive)
    )
