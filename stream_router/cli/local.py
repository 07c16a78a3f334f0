"""`stream-router local`: a Kafka and a Valkey on this machine, without Docker or Java."""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from stream_router.cli.common import example, output_option
from stream_router.local import stack as local
from stream_router.local.jars import Progress as Report
from stream_router.settings import PREFIX

_PLAIN_EVERY = 10
_PORT = click.IntRange(1, 65535)

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=local.DEFAULT_DATA,
    show_default=True,
    help="Folder for data, logs and process ids.",
)


@click.group(
    help="Start and stop a local Kafka and Valkey, from Python packages and jars.",
    epilog=example("stream-router local up", "stream-router local status --output json", "stream-router local down"),
)
def command() -> None:
    pass


@command.command(
    help="Start the servers where they do not run, and wait until they answer.",
    epilog=example("stream-router local up --data /tmp/stack --kafka-port 9092 --redis-port 6379"),
)
@data_option
@click.option("--kafka-port", type=_PORT, help="Port of Kafka.  [the last one, or any free one]")
@click.option("--redis-port", type=_PORT, help="Port of Valkey.  [the last one, or any free one]")
@output_option
def up(data: Path, kafka_port: int | None, redis_port: int | None, output: str) -> None:
    with download_progress() as report:
        stack = local.start(data, kafka_port=kafka_port, redis_port=redis_port, progress=report)
    _show(stack.data, *stack.servers, output)
    if output == "text":
        click.echo(f"\nexport {PREFIX}BOOTSTRAP_SERVERS={stack.bootstrap_servers}")
        click.echo(f"export {PREFIX}REDIS_URL={stack.redis_url}")
        click.echo(f"export {PREFIX}STATE_FOLDER={shlex.quote(str(stack.data / 'state'))}")


@command.command(
    help="Stop the servers; their data stays in the folder.",
    epilog=example("stream-router local down --data /tmp/stack"),
)
@data_option
def down(data: Path) -> None:
    stopped = local.stop(data)
    click.echo(f"stopped {' and '.join(stopped)}" if stopped else f"nothing runs in {data}")


@command.command(
    help="Show each server; exit code 1 unless both run and answer.",
    epilog=example(
        "stream-router local status --output json",
        "export STREAM_ROUTER_BOOTSTRAP_SERVERS=$(stream-router local status --output json | jq -r .bootstrap_servers)",
    ),
)
@data_option
@output_option
def status(data: Path, output: str) -> int:
    kafka, redis = local.status(data)
    _show(data.resolve(), kafka, redis, output)
    if kafka.state == redis.state == "running":
        return 0
    if output == "text":
        click.echo(f"start what does not run with `stream-router local up --data {shlex.quote(str(data))}`")
    return 1


def _show(data: Path, kafka: local.ServerStatus, redis: local.ServerStatus, output: str) -> None:
    if output == "json":
        click.echo(json.dumps(_document(data, kafka, redis), default=str))
        return
    for server in (kafka, redis):
        process = "" if server.pid is None else f"process {server.pid}  "
        click.echo(f"{server.name:8}{server.state:15}{server.address or '':34}{process}log {server.log}")


def _document(data: Path, kafka: local.ServerStatus, redis: local.ServerStatus) -> dict[str, Any]:
    return {
        "state": kafka.state if kafka.state == redis.state else "incomplete",
        "bootstrap_servers": kafka.address,
        "redis_url": redis.address,
        "data": data,
        "kafka_state": kafka.state,
        "redis_state": redis.state,
        "kafka_pid": kafka.pid,
        "redis_pid": redis.pid,
        "kafka_log": kafka.log,
        "redis_log": redis.log,
    }


@contextmanager
def download_progress() -> Iterator[Report]:
    """A bar on a terminal, else a line now and then; nothing where nothing has to be downloaded."""
    console = Console(stderr=True)
    columns = (
        TextColumn("Downloading Apache Kafka"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, disable=not console.is_interactive, transient=True) as bar:
        tasks: list[TaskID] = []

        def report(there: int, total: int, name: str) -> None:
            if not tasks:
                tasks.append(bar.add_task(name, total=None))
            bar.update(tasks[0], completed=there, total=total or None, description=name)
            if not console.is_interactive and (there % _PLAIN_EVERY == 0 or there == total):
                sys.stderr.write(f"Downloading Apache Kafka: {f'{there} of {total} jars' if total else name}\n")
                sys.stderr.flush()

        yield report
