"""stream-router backtest"""

import json
from pathlib import Path

import click

from stream_router.cli.common import example, output_option, route_option, settings_options
from stream_router.cli.progress import progress
from stream_router.cli.running import TimeType
from stream_router.core.deciding.backtest import under
from stream_router.core.rollout.recorded import recorded_verdicts
from stream_router.core.route import Route
from stream_router.errors import SettingError
from stream_router.processes.replay import EvidenceReader, Recorded, read_recorded
from stream_router.settings import Settings, load_policy
from stream_router.views import backtest as view


@click.command(
    name="backtest",
    epilog=example(
        "stream-router backtest --route flights --policy stricter.toml",
        "stream-router backtest --route flights --policy stricter.toml --from 2026-01-31T08:00:00Z --output json",
    ),
)
@settings_options
@route_option
@click.option(
    "--policy",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    required=True,
    metavar="FILE",
    help="TOML with a table [policy] as in the settings; what it does not set is by default.",
)
@click.option("--from", "since", type=TimeType(), help="All rollouts that began at this time or later.")
@click.option("--rollout", type=click.IntRange(min=1), help="Number of the rollout.  [the one in force or the last]")
@output_option
def command(
    settings: Settings, route: Route, policy: Path, since: int | None, rollout: int | None, output: str
) -> None:
    """Say what another policy would have decided on the recorded evidence, and when, beside what was decided.

    Nothing is changed. What evidence was gathered by cannot be tried: window, label_horizon, prediction_deadline,
    assign_by, and when an answer is right. After a rollback canary gets no requests, so that a policy that decides
    later has only the evidence that still came.
    """
    if since is not None and rollout is not None:
        raise SettingError("--from and --rollout cannot be combined: --rollout names one, --from all that began since")
    recorded = read_recorded(settings, route)
    numbers = [recorded.rollout(rollout)] if since is None else recorded.since(since)
    with progress("Judging again") as report:
        reader = EvidenceReader(settings, route, report)
        try:
            tried = [_tried(reader, recorded, number, policy) for number in numbers]
        finally:
            reader.close()
    if output == "json":
        click.echo(json.dumps(view.document(route.name, tried)))
    else:
        for line in view.lines(route.name, tried):
            click.echo(line)


def _tried(reader: EvidenceReader, recorded: Recorded, rollout: int, file: Path) -> view.Tried:
    started = reader.started(rollout, recorded.began(rollout))
    try:
        judged = under(started, load_policy(file, started.policy))
    except ValueError as error:
        raise SettingError(f"policy file {str(file)!r}: {error}") from error
    retrial = reader.retried(judged)
    return view.Tried(
        rollout=rollout,
        started_at=retrial.started_at or recorded.began(rollout),
        recorded=started.policy,
        other=retrial.started.policy,
        decided=tuple(recorded_verdicts(recorded.news.events, rollout)),
        fell=tuple(retrial.fell),
        standing=retrial.verdicts,
    )
