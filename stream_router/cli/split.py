"""`stream-router split`: the split in force, and a change by hand that is waited for."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager

import click

from stream_router.adapters.redis.routers import RedisRouterStore
from stream_router.adapters.redis.store import RedisSplitStore
from stream_router.cli.common import example, output_option, route_option, settings_options
from stream_router.cli.durations import DurationType
from stream_router.core.route import Route
from stream_router.processes.split_change import SplitState, change_split, split_state
from stream_router.settings import Settings
from stream_router.views import split as view


@click.group(
    help="Show the split in force, or set one and wait until all routers obey it.",
    epilog=example("stream-router split get --route flights", "stream-router split set --route flights --canary 0.1"),
)
def command() -> None:
    pass


@command.command(name="get", epilog=example("stream-router split get --route flights --output json"))
@settings_options
@route_option
@output_option
def get_split(settings: Settings, route: Route, output: str) -> None:
    """Show the split in force, the last one that was refused, and which routers do not obey."""
    with _stores(settings, route) as (splits, routers):
        _say(split_state(splits, routers), output)


@command.command(
    name="set",
    epilog=example(
        "stream-router split set --route flights --canary 0.1", "stream-router split set --route flights --canary 0"
    ),
)
@settings_options
@route_option
@click.option(
    "--canary", type=float, required=True, help="Canary's share of the requests, 0 to 1; stable has the rest."
)
@click.option("--timeout", type=DurationType(), default="10s", show_default=True, help="How long routers may take.")
@output_option
def set_split(settings: Settings, route: Route, canary: float, timeout: int, output: str) -> None:
    """Set the split, as SET in Redis does, and wait until every router that lives routes by it.

    It says how many keys change their lane. Exit codes: 0 obeyed, 2 a split that is refused, 4 not obeyed in time.
    """
    raw = json.dumps({"stable": round(1 - canary, 12), "canary": canary}).encode()
    with _stores(settings, route) as (splits, routers):
        change = change_split(splits, routers, raw, timeout / 1000)
    if output == "text":
        click.echo(f"{100 * change.moved:.4g} % of the keys have changed their lane")
    _say(change.after, output, moved=change.moved)


@contextmanager
def _stores(settings: Settings, route: Route) -> Iterator[tuple[RedisSplitStore, RedisRouterStore]]:
    with closing(RedisSplitStore(route, settings)) as splits, closing(RedisRouterStore(route, settings)) as routers:
        yield splits, routers


def _say(state: SplitState, output: str, **more: float) -> None:
    shown = state.applied, state.routers, state.disobeying, state.rejected
    if output == "json":
        click.echo(json.dumps(view.document(*shown) | more))
        return
    for line in view.lines(*shown):
        click.echo(line)
