"""`stream-router topics`: the topics of a route, as topics/*.yaml declare them."""

import json
from dataclasses import asdict

import click

from stream_router.adapters.kafka import topics
from stream_router.cli.common import example, output_option, route_option, settings_options
from stream_router.core.route import Route
from stream_router.errors import TopicError
from stream_router.settings import Settings

partitions_option = click.option(
    "--partitions",
    type=click.IntRange(1),
    metavar="N",
    help="In place of the declared counts above 1.",
)


@click.group(
    help="Create, check and list a route's topics.",
    epilog=example("stream-router topics apply --route flights", "stream-router topics verify --route flights"),
)
def command() -> None:
    pass


@command.command(
    help="Create the topics that are missing. Nothing is ever deleted or altered.",
    epilog=example("stream-router topics apply --route flights --partitions 12"),
)
@settings_options
@route_option
@partitions_option
@output_option
def apply(settings: Settings, route: Route, partitions: int | None, output: str) -> None:
    applied = topics.apply(settings, route, partitions)
    if output == "json":
        click.echo(json.dumps([asdict(topic) for topic in applied]))
        return
    for topic in applied:
        click.echo(f"{'created' if topic.created else 'exists '}  {_counted(topic.partitions)}  {topic.name}")


@command.command(
    help="Compare the topics with their declarations; exit code 1 and one line for each difference.",
    epilog=example("stream-router topics verify --route flights"),
)
@settings_options
@route_option
@partitions_option
@output_option
def verify(settings: Settings, route: Route, partitions: int | None, output: str) -> None:
    found = topics.differences(settings, route, partitions)
    if output == "json":
        click.echo(json.dumps({"differences": found}))
    else:
        for sentence in found:
            click.echo(sentence)
    if found:
        raise TopicError(f"{len(found)} differences from the declared topics of route {route.name}")
    if output == "text":
        click.echo(f"the topics of route {route.name} are as declared")


@command.command(
    "list",
    help="List the topics of a route: what is in them, who writes and who reads.",
    epilog=example("stream-router topics list --route flights --output json"),
)
@settings_options
@route_option
@output_option
def list_(settings: Settings, route: Route, output: str) -> None:
    found = topics.states(settings, route)
    if output == "json":
        documents = [
            state.declaration.model_dump()
            | {"name": state.name, "exists": state.partitions is not None, "partitions": state.partitions}
            for state in found
        ]
        click.echo(json.dumps(documents))
        return
    for state in found:
        count = "missing" if state.partitions is None else _counted(state.partitions)
        click.echo(f"{count:16}{state.name}\n{'':16}{state.declaration.description}")


def _counted(partitions: int) -> str:
    return f"{partitions:3} partition{' ' if partitions == 1 else 's'}"
