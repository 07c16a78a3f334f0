"""`stream-router local`: a Kafka and a Valkey on this machine, without Docker or Java."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from stream_router.cli.common import example, output_option
from stream_router.local import stack as local
from stream_router.local.jars import Progress as Report

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
    _print(stack, output)


@command.command(
    help="Stop the servers; their data stays in the folder.",
    epilog=example("stream-router local down --data /tmp/stack"),
)
@data_option
def down(data: Path) -> None:
    stopped = local.stop(data)
    click.echo(f"stopped {' and '.join(stopped)}" if stopped else f"nothing runs in {data}")


@command.command(
    help="Show where the servers are; exit code 1 unless both run and answer.",
    epilog=example(
        "stream-router local status --output json",
        "export STREAM_ROUTER_BOOTSTRAP_SERVERS=$(stream-router local status --output json | jq -r .bootstrap_servers)",
    ),
)
@data_option
@output_option
def status(data: Path, output: str) -> int:
    stack = local.find(data)
    if stack is not None:
        _print(stack, output)
        return 0
    stopped = {"state": "stopped", "bootstrap_servers": None, "redis_url": None, "data": str(data.resolve())}
    click.echo(
        json.dumps(stopped) if output == "json" else f"stopped: start it with `stream-router local up --data {data}`",
    )
    return 1


def _print(stack: local.Stack, output: str) -> None:
    if output == "json":
        click.echo(json.dumps({"state": "running", **asdict(stack)}, default=str))
        return
    click.echo(f"Kafka   {stack.bootstrap_servers:34}process {stack.kafka_pid}  log {stack.kafka_log}")
    click.echo(f"Valkey  {stack.redis_url:34}process {stack.redis_pid}  log {stack.redis_log}")


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
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        tasks: list[TaskID] = []

        def report(there: int, total: int, name: str) -> None:
            if not tasks:
                tasks.append(bar.add_task(name, total=None))
            bar.update(tasks[0], completed=there, total=total or None, description=name)
            if not console.is_terminal and (there % _PLAIN_EVERY == 0 or there == total):
                sys.stderr.write(f"Downloading Apache Kafka: {f'{there} of {total} jars' if total else name}\n")
                sys.stderr.flush()

        yield report
