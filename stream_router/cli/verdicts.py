"""stream-router verdicts"""

import json
from collections.abc import Sequence
from typing import cast

import click

from stream_router.cli.common import example, output_option, route_option, settings_options
from stream_router.cli.progress import progress
from stream_router.core.policy import MetricName
from stream_router.core.rollout.recorded import compared, ended_at, recorded_verdicts
from stream_router.core.rollout.rollout_event import RolloutEvent
from stream_router.core.route import Route
from stream_router.errors import ReplayError
from stream_router.processes.replay import EvidenceReader, Recorded, read_recorded, replayed_to
from stream_router.settings import Settings
from stream_router.views import verdicts as view


@click.command(
    name="verdicts",
    epilog=example(
        "stream-router verdicts --route flights",
        "stream-router verdicts --route flights --rollout 3 --replay --output json",
    ),
)
@settings_options
@route_option
@click.option("--rollout", type=click.IntRange(min=1), help="Number of the rollout.  [the one in force or the last]")
@click.option("--replay", is_flag=True, help="Fold the evidence again, and say where it gives another verdict.")
@output_option
def command(settings: Settings, route: Route, rollout: int | None, replay: bool, output: str) -> None:
    """Show every verdict on a rollout, with its numbers; --replay: exit code 7 if one is not what the evidence gives.

    With --replay also how much worse canary is: the odds ratio of a bad outcome, in bounds that hold at every moment.
    Other exit codes say that nothing was replayed: 1 where R.evidence no longer holds the beginning of the rollout.
    """
    recorded = read_recorded(settings, route)
    number = recorded.rollout(rollout)
    events = recorded_verdicts(recorded.news.events, number)
    replayed = _replayed(settings, route, recorded, number, events) if replay else None
    if output == "json":
        click.echo(json.dumps(view.document(route.name, number, events, replayed)))
    else:
        for line in view.lines(route.name, number, events, replayed):
            click.echo(line)
    if replayed is not None and not replayed.comparison.agrees:
        wrong = sum(map(bool, replayed.comparison.differs)) + len(replayed.comparison.lacking)
        raise ReplayError(f"the evidence of rollout {number} gives {wrong} other verdicts than were recorded")


def _replayed(
    settings: Settings, route: Route, recorded: Recorded, rollout: int, events: Sequence[RolloutEvent]
) -> view.Replay:
    end = replayed_to(recorded, rollout)
    with progress("Replaying") as report:
        reader = EvidenceReader(settings, route, report)
        try:
            retrial = reader.retried(reader.started(rollout, recorded.began(rollout)), end)
        finally:
            reader.close()
    # What is no metric's name has no bets.
    return view.Replay(
        comparison=compared(events, retrial.fell, ended_at(recorded.news.events, rollout)),
        odds_ratios=tuple(
            retrial.odds_ratio(cast("MetricName", event.metric), event.evidence_offset) for event in events
        ),
        standing=tuple(
            (verdict, retrial.odds_ratio(cast("MetricName", verdict.metric))) for verdict in retrial.verdicts
        ),
        read_to=end,
    )
