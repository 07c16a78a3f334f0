"""stream-router audit"""

import json
from typing import Final

import click

from stream_router.cli.common import example, output_option, route_option, settings_options
from stream_router.cli.progress import progress
from stream_router.cli.running import TimeType
from stream_router.core.route import Route
from stream_router.errors import AuditError
from stream_router.processes.audit import audit_route
from stream_router.settings import Settings
from stream_router.views import audit as view

_SHOWN: Final = 20
"""Faults that people are shown one by one."""


@click.command(
    name="audit",
    epilog=example(
        "stream-router audit --route flights",
        "stream-router audit --route flights --since 2026-01-31T08:00:00Z --output json",
    ),
)
@settings_options
@route_option
@click.option(
    "--since",
    type=TimeType(),
    help="Only requests with this timestamp or a later one, all of which must be routed.  [the first routed one]",
)
@output_option
def command(settings: Settings, route: Route, since: int | None, output: str) -> None:
    """Check what the routers did: exit code 7 if anything is wrong.

    Walks the requests and the lanes in step, while routers run or not, and recomputes each lane from the split that the
    record's header names. It needs the routers' route.assign_by. What a router with --delivery at-least-once wrote
    twice is a fault here, too. Other exit codes say that the audit was not done: 6 where a server does not answer.
    """
    with progress("Auditing") as report:
        findings = audit_route(settings, route, since=since, progress=report)
    if output == "json":
        click.echo(json.dumps(view.document(findings, route, since)))
    else:
        for line in view.lines(findings, route, since, _SHOWN):
            click.echo(line)
    if not findings.clean:
        raise AuditError(f"{findings.faults.total():,} faults in the lanes of route {route.name}")
