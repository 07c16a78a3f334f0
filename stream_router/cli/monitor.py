"""stream-router monitor"""

import os
import socket

import click

from stream_router.cli.common import example, metrics_option, policy_option, route_option, settings_options
from stream_router.cli.running import stop_on_signal
from stream_router.core.route import Route
from stream_router.processes.monitor import run_monitor
from stream_router.settings import Settings


def _default_worker() -> str:
    return f"{socket.gethostname()}.{os.getpid()}"


@click.command(
    name="monitor",
    epilog=example(
        "stream-router monitor --route flights",
        "stream-router monitor --route flights --policy policy.yaml --worker monitor-2",
    ),
)
@settings_options
@route_option
@click.option(
    "--worker",
    default=_default_worker,
    show_default="host and process id",
    metavar="NAME",
    help="Name of this process in the evidence that it writes.",
)
@policy_option
@metrics_option
def command(settings: Settings, route: Route, worker: str) -> None:
    """Join predictions with ground truth, and judge the canary.

    Start as many as there are partitions to share. Runs until SIGINT or SIGTERM.
    """
    with stop_on_signal() as stop:
        run_monitor(settings, route, worker=worker, stop=stop)
