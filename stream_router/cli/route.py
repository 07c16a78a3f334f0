"""stream-router route"""

import click

from stream_router.adapters.kafka.group import Start
from stream_router.adapters.kafka.handler import Delivery
from stream_router.adapters.memory import handle_batches
from stream_router.cli.common import example, metrics_option, route_option, settings_options
from stream_router.cli.running import instance_option, start_option, stop_on_signal
from stream_router.core.route import Route
from stream_router.processes.route import route_requests
from stream_router.settings import Settings


@click.command(
    name="route",
    epilog=example(
        "stream-router route --route flights",
        "stream-router route --route flights --from 2026-01-31T08:00:00Z --instance router-2",
    ),
)
@settings_options
@route_option
@start_option
@instance_option
@click.option(
    "--delivery",
    type=click.Choice(["exactly-once", "at-least-once"]),
    default="exactly-once",
    show_default=True,
    help="at-least-once is faster, and a crash routes some requests twice.",
)
@click.option(
    "--interval",
    type=click.FloatRange(0.001, 5),
    default=0.2,
    show_default=True,
    metavar="SECONDS",
    help="How long a transaction stays open at most, which it does while the router is behind; else it is some 10 ms.",
)
@metrics_option
def command(settings: Settings, route: Route, start: Start, instance: str, delivery: Delivery, interval: float) -> None:
    """Split the requests of a route between its lanes, by the split in Redis.

    Runs until SIGINT or SIGTERM.
    """
    handle_batches()
    with stop_on_signal() as stop:
        route_requests(settings, route, instance=instance, start=start, delivery=delivery, interval=interval, stop=stop)
