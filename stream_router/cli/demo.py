"""`stream-router demo`: a bad model caught and rolled back, on a real Kafka and a real Redis."""

import json
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from stream_router.cli.common import example, output_option, route_option, settings_options
from stream_router.cli.local import download_progress
from stream_router.cli.running import stop_on_signal
from stream_router.core.route import Route
from stream_router.demo.extra import require_extra
from stream_router.demo.interrupts import Interrupted, Interrupts
from stream_router.demo.pace import SECONDS_PER_HOUR
from stream_router.errors import SettingError, StreamRouterError
from stream_router.settings import Settings


@click.group(
    invoke_without_command=True,
    epilog=example(
        "stream-router demo",
        "stream-router demo --output json",
        "stream-router demo --bootstrap-servers localhost:9092 --redis-url redis://localhost:6379/0 --route try-1",
    ),
)
@click.option("--bootstrap-servers", metavar="HOST:PORT,…", help="Kafka that is there already.  [one of its own]")
@click.option("--redis-url", metavar="URL", help="Redis or Valkey that is there already.  [one of its own]")
@click.option("--route", default="flights", show_default=True, metavar="NAME", help="A route that has no topics yet.")
@click.option(
    "--canary-version",
    type=click.Choice(["logreg-hours", "logreg-minutes"]),
    default="logreg-hours",
    show_default=True,
    help="logreg-minutes is stable's own model: no rollback comes, and the exit code is 1.",
)
@click.option(
    "--limit",
    type=click.FloatRange(1),
    default=75,
    show_default=True,
    metavar="SECONDS",
    help="From the canary's start to its rollback; exit code 1 if it takes longer.",
)
@click.option("--keep", is_flag=True, help="Keep the folder with logs and data, as after an error.")
@output_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    bootstrap_servers: str | None,
    redis_url: str | None,
    route: str,
    canary_version: str,
    limit: float,
    keep: bool,
    output: str,
) -> None:
    """Show a bad model caught and rolled back.

    Starts Kafka, Valkey, a router, two scoring jobs and a monitor, replays flights of 2013, gives a bad model a tenth
    of the traffic by a plain SET in Redis, and watches. Ends by itself or with Ctrl-C, every process stopped.
    """
    if ctx.invoked_subcommand is not None:
        return
    if (bootstrap_servers is None) != (redis_url is None):
        raise SettingError("the demo takes both --bootstrap-servers and --redis-url, or starts servers of its own")
    require_extra()
    given = (bootstrap_servers, redis_url) if bootstrap_servers and redis_url else None
    try:
        with Interrupts() as interrupts:
            folder = Path(tempfile.mkdtemp(prefix="stream-router-demo-"))
            _run(interrupts, given, folder, Route(route), canary_version, limit, output)
    except Interrupted:
        click.echo("Interrupted; every process is stopped.", err=True)
    except StreamRouterError:
        click.echo(f"The logs are in {folder}", err=True)
        raise
    if keep:
        click.echo(f"Logs and data are in {folder}.", err=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _run(
    interrupts: Interrupts,
    given: tuple[str, str] | None,
    folder: Path,
    route: Route,
    canary_version: str,
    limit: float,
    output: str,
) -> None:
    with interrupts.raising():
        # Imported here, so that a signal in the half second that it takes ends like any other.
        from stream_router.demo import report, run, servers, watch  # noqa: PLC0415
        from stream_router.views import terminal  # noqa: PLC0415

    plan = watch.Plan(route=route, canary_version=canary_version, limit=limit)

    with terminal.screen_for(sys.stderr if output == "json" else sys.stdout) as shown:

        def open_servers(cleanup: ExitStack) -> servers.Servers:
            if given:
                return servers.given_servers(*given)
            shown.say("Starting Kafka and Valkey")
            with download_progress() as progress:
                return servers.own_servers(folder, progress, cleanup)

        result = run.run_demo(plan, open_servers, folder, shown, interrupts)
    if output == "json":
        click.echo(json.dumps(report.document(result)))
    else:
        for sentence in report.sentences(result):
            click.echo(sentence)


@command.command(epilog=example("stream-router demo produce --route flights --seconds-per-hour 1"))
@settings_options
@route_option
@click.option(
    "--seconds-per-hour",
    type=click.FloatRange(0.001, 3600),
    default=SECONDS_PER_HOUR,
    show_default=True,
    metavar="SECONDS",
    help="What an hour of 2013 takes.",
)
def produce(settings: Settings, route: Route, seconds_per_hour: float) -> None:
    """Replay the flights alone: requests and, when they land, their labels.

    Until SIGINT, SIGTERM or the end of the year; then prints what was sent as JSON.
    """
    require_extra()
    with stop_on_signal() as stop:
        from stream_router.demo.producer import produce_flights  # noqa: PLC0415 - takes a second, stop_on_signal first

        sent = produce_flights(settings, route, seconds_per_hour, stop)
    click.echo(json.dumps(vars(sent)))
