"""`stream-router policy`: what a rollout is judged by and how it goes forward, checked and shown."""

import json
from pathlib import Path

import click

from stream_router.cli.common import example, output_option, policy_option, route_of, settings_options
from stream_router.core.policy import Policy
from stream_router.errors import PolicyError
from stream_router.policies.policy_file import PolicyFile, fields_of
from stream_router.policies.reading import faults_told, parse_policy, policy_bytes
from stream_router.settings import Settings, policy_of
from stream_router.views import policy as view


@click.group(
    help="Check and show what a rollout is judged by and how it goes forward.",
    epilog=example("stream-router policy check policy.yaml", "stream-router policy show > policy.yaml"),
)
def command() -> None:
    pass


@command.command(
    epilog=example(
        "stream-router policy check policy.yaml",
        "stream-router policy check policy.yaml --output json",
    )
)
@settings_options
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")
@output_option
def check(settings: Settings, file: Path, output: str) -> None:
    """Say in words what a policy file means, or all that is wrong with it, by line; exit code 2 then.

    The route settings count, too: those that the processes of the route are started with.
    """
    found = parse_policy(policy_bytes(file), settings.route.to_policy())
    if output == "json":
        click.echo(json.dumps(view.checked(str(file), found)))
    if not isinstance(found, Policy):
        raise PolicyError(faults_told(file, found))
    if output == "text":
        click.echo(f"{file} is a good policy.\n")
        click.echo("\n".join(view.lines(found)))


@command.command(epilog=example("stream-router policy schema > policy.schema.json"))
def schema() -> None:
    """Print the JSON Schema of a policy file, for editors that complete and check while one writes."""
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema", **PolicyFile.model_json_schema()}
    click.echo(json.dumps(described | {"title": "Policy of stream-router"}, indent=2))


@command.command(
    epilog=example(
        "stream-router policy show > policy.yaml",
        "stream-router policy show --route flights --policy policy.yaml --output json",
    )
)
@settings_options
@click.option("--route", "name", metavar="NAME", help="The route, to name it in what is shown.")
@policy_option
@output_option
def show(settings: Settings, name: str | None, output: str) -> None:
    """Print the policy of a route's next rollout with every default, as a file that `policy check` accepts.

    It is that of a monitor that is started with the same settings and --policy. No server is asked.
    """
    route, policy = None if name is None else route_of(name, settings).name, policy_of(settings)
    if output == "json":
        click.echo(json.dumps(view.document(route, policy, fields_of(policy))))
    else:
        click.echo(view.yaml_text(route, policy, fields_of(policy)), nl=False)
