"""stream-router backtest"""

import json

import click

from stream_router.cli.common import example, output_option, route_option, settings_options, type_file
from stream_router.cli.progress import progress
from stream_router.cli.running import TimeType
from stream_router.core.deciding.backtest import under
from stream_router.core.rollout.recorded import recorded_verdicts
from stream_router.core.route import Route
from stream_router.errors import SettingError
from stream_router.policies.reading import read_policy
from stream_router.processes.replay import EvidenceReader, Recorded, read_recorded
from stream_router.settings import Settings
from stream_router.views import backtest as view


@click.command(
    name="backtest",
    epilog=example(
        "stream-router backtest --route flights --policy stricter.yaml",
        "stream-router backtest --route flights --policy stricter.yaml --from 2026-01-31T08:00:00Z --output json",
    ),
)
@settings_options
@route_option
@click.option(
    "--policy",
    type=type_file,
    required=True,
    metavar="FILE",
    help="Policy file, YAML; what it does not set is by default.",
)
@click.option("--from", "since", type=TimeType(), help="All rollouts that began at this time or later.")
@click.option("--rollout", type=click.IntRange(min=1), help="Number of the rollout.  [the one in force or the last]")
@output_option
def command(settings: Settings, route: Route, since: int | None, rollout: int | None, output: str) -> None:
    """Say what another policy would have decided on the recorded evidence, and when, beside what was decided.

    Nothing is changed. The route settings stay as they were, since the evidence was gathered by them. After a rollback
    canary gets no requests, so that a policy that decides later has only the evidence that still came.
    """
    if since is not None and rollout is not None:
        raise SettingError("--from and --rollout cannot be combined: --rollout names one, --from all that began since")
    recorded = read_recorded(settings, route)
    numbers = [recorded.rollout(rollout)] if since is None else recorded.since(since)
    with progress("Judging again") as report:
        reader = EvidenceReader(settings, route, report)
        try:
            tried = [_tried(reader, recorded, number, settings) for number in numbers]
        finally:
            reader.close()
    if output == "json":
        click.echo(json.dumps(view.document(route.name, tried)))
    else:
        for line in view.lines(route.name, tried):
            click.echo(line)


def _tried(reader: EvidenceReader, recorded: Recorded, rollout: int, settings: Settings) -> view.Tried:
    started = reader.started(rollout, recorded.began(rollout))
    retrial = reader.retried(under(started, read_policy(settings.policy, started.policy)))
    return view.Tried(
        rollout=rollout,
        started_at=retrial.started_at or recorded.began(rollout),
        recorded=started.policy,
        other=retrial.started.policy,
        decided=tuple(recorded_verdicts(recorded.news.events, rollout)),
        fell=tuple(retrial.fell),
        standing=retrial.verdicts,
    )
