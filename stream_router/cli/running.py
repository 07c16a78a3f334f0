"""What the long-running commands share: stopping on a signal, where to begin, the name of the process."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click

from stream_router.adapters.kafka.group import Start


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Yields what tells whether SIGINT or SIGTERM came; the process then ends its work and exits with 0."""
    stopped = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StartType(click.ParamType):
    """earliest, latest, or a time: ISO 8601 (UTC unless it says otherwise) or milliseconds since the epoch."""

    name = "earliest|latest|TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Start:
        if isinstance(value, int):
            return value
        if value == "earliest":
            return "earliest"
        if value == "latest":
            return "latest"
        if str(value).isdecimal():
            return int(value)
        try:
            time = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is none of earliest, latest and a time such as 2026-01-31T08:00:00Z", param, ctx)
        return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def start_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--from",
        "start",
        type=StartType(),
        default="earliest",
        show_default=True,
        help="Where a group without offsets begins.",
    )(function)


def instance_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--instance",
        default=socket.gethostname,
        show_default="the host's name",
        metavar="NAME",
        help="This process among its group's: a restart under the same name takes over at once.",
    )(function)
