"""`stream-router rollout`: what a person may tell a rollout, and what it tells a person."""

import json
from collections.abc import Callable
from typing import Any, Final, get_args

import click

from stream_router.cli.common import example, output_option, policy_option, route_option, settings_options
from stream_router.cli.durations import DurationType
from stream_router.core.rollout.phases import Phase
from stream_router.core.rollout.rollout_event import RolloutEvent
from stream_router.core.rollout.rollout_state import RolloutState
from stream_router.core.route import Route
from stream_router.processes.rollouts import Rollouts
from stream_router.settings import Settings, policy_of
from stream_router.views import rollout as view

_ENDED_BADLY: Final[frozenset[Phase]] = frozenset({"RolledBack", "Aborted"})
_BY_NAME: Final[dict[str, Phase]] = {phase.lower(): phase for phase in get_args(Phase)}

_CODES: Final = (
    "Exit codes: 0 done, 1 refused, 3 rolled back or aborted, 4 no answer in time, 5 waits for a person, 6 no Kafka."
)


@click.group(
    help="Carry a model version to everybody, or back.",
    epilog=example(
        "stream-router rollout start --route flights --model-version 8 --reason 'retrained'",
        "stream-router rollout wait --route flights --for promoted --timeout 2h",
        "stream-router rollout abort --route flights --reason 'customers complain'",
    ),
)
def command() -> None:
    pass


def _verb(help_: str, *examples: str, name: str | None = None) -> Callable[[Callable[..., Any]], click.Command]:
    """A sub-command with the options that all verbs have."""

    def made(function: Callable[..., Any]) -> click.Command:
        shown = name or function.__name__
        lines = examples or (f"stream-router rollout {shown} --route flights --reason 'seen by the team'",)
        for option in (
            output_option,
            click.option("--by", metavar="WHO", help="Who it is.  [user and host]"),
            click.option("--reason", default="", help="Why; it stays in the history."),
            route_option,
            settings_options,
        ):
            function = option(function)
        return command.command(name=shown, help=f"{help_} {_CODES}", epilog=example(*lines))(function)

    return made


@_verb(
    "Begin a rollout: canary gets the version, and requests once a scoring job serves it.",
    "stream-router rollout start --route flights --model-version 8 --reason 'retrained'",
)
@policy_option
@click.option("--model-version", required=True, metavar="VERSION", help="The version that is to be canary's.")
def start(settings: Settings, route: Route, reason: str, by: str | None, output: str, model_version: str) -> None:
    policy = None if settings.policy is None else policy_of(settings)
    with Rollouts(route, settings) as rollouts:
        _say(view.transition(rollouts.start(model_version, policy=policy, reason=reason, by=by)), output)


@_verb("Hold canary's share where it is.")
def pause(settings: Settings, route: Route, reason: str, by: str | None, output: str) -> None:
    with Rollouts(route, settings) as rollouts:
        _say(view.transition(rollouts.pause(reason=reason, by=by)), output)


@_verb("Go on from canary's present share at the next higher step.")
def resume(settings: Settings, route: Route, reason: str, by: str | None, output: str) -> None:
    with Rollouts(route, settings) as rollouts:
        _say(view.transition(rollouts.resume(reason=reason, by=by)), output)


@_verb("Open the step that waits for a person.")
def approve(settings: Settings, route: Route, reason: str, by: str | None, output: str) -> None:
    with Rollouts(route, settings) as rollouts:
        _say(view.transition(rollouts.approve(reason=reason, by=by)), output)


@_verb("Make canary's version stable's, where every guardrail is healthy.")
@click.option("--full", is_flag=True, help="Also where not all is shown yet; an unhealthy verdict still wins.")
def promote(settings: Settings, route: Route, reason: str, by: str | None, output: str, *, full: bool) -> None:
    with Rollouts(route, settings) as rollouts:
        _say(view.transition(rollouts.promote(full=full, reason=reason, by=by)), output)


@_verb("Roll the running rollout back at once. Needs neither a monitor nor Redis.")
def abort(settings: Settings, route: Route, reason: str, by: str | None, output: str) -> None:
    with Rollouts(route, settings) as rollouts:
        _rolled_back(rollouts, rollouts.abort(reason=reason, by=by), output)


@_verb("After a promotion: give stable its previous version back. Needs neither a monitor nor Redis.")
def undo(settings: Settings, route: Route, reason: str, by: str | None, output: str) -> None:
    with Rollouts(route, settings) as rollouts:
        _rolled_back(rollouts, rollouts.undo(reason=reason, by=by), output)


@command.command(
    help="Say where the rollout stands, and what it waits for.",
    epilog=example("stream-router rollout status --route flights"),
)
@settings_options
@route_option
@output_option
def status(settings: Settings, route: Route, output: str) -> None:
    with Rollouts(route, settings) as rollouts:
        state, shown = rollouts.state(), rollouts.shown()
    _say(view.standing(state, shown), output)


@command.command(
    help="Every change of the route's rollouts, and every command that was refused, the newest last.",
    epilog=example(
        "stream-router rollout history --route flights", "stream-router rollout history --route flights --rollout 3"
    ),
)
@settings_options
@route_option
@click.option("--rollout", type=click.IntRange(min=1), help="Only of this one.")
@output_option
def history(settings: Settings, route: Route, rollout: int | None, output: str) -> None:
    with Rollouts(route, settings) as rollouts:
        changes = [change for change in rollouts.history() if rollout in (None, change.record.rollout)]
    _say(view.history(changes), output)


@command.command(
    help=f"Wait until the rollout is in a phase, or can get there no more by itself. {_CODES}",
    epilog=example("stream-router rollout wait --route flights --for promoted --timeout 2h"),
)
@settings_options
@route_option
@click.option(
    "--for",
    "phases",
    type=click.Choice(sorted(_BY_NAME)),
    multiple=True,
    default=("promoted",),
    show_default=True,
    help="The phase; repeatable.",
)
@click.option("--timeout", type=DurationType(), default="1h", show_default=True, help="How long, such as 30m.")
@output_option
def wait(settings: Settings, route: Route, phases: tuple[str, ...], timeout: int, output: str) -> int:
    wanted = [_BY_NAME[name] for name in phases]
    with Rollouts(route, settings) as rollouts:
        state = rollouts.wait(*wanted, timeout=timeout / 1000)
        _say(view.standing(state, rollouts.shown()), output)
    return _exit_code(state, wanted)


def _exit_code(state: RolloutState, wanted: list[Phase]) -> int:
    if state.phase in wanted:
        return 0
    if state.phase in _ENDED_BADLY:
        return 3
    return 5 if state.phase == "Paused" else 1


def _rolled_back(rollouts: Rollouts, event: RolloutEvent, output: str) -> None:
    _say(view.rolled_back(event, rollouts.obeyed(event)), output)


def _say(said: view.Said, output: str) -> None:
    if output == "json":
        click.echo(json.dumps(said.document))
        return
    for line in said.lines:
        click.echo(line)
