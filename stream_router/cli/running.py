"""What the long-running commands share: stopping on a signal, where to begin, the name of the process."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import click

from stream_router.adapters.kafka.group import Start
from stream_router.adapters.watchdog import end_now

_SECONDS_TO_END: Final = 4.0
"""From a signal to the end of the process, whatever it hangs in."""


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Yields what tells whether SIGINT or SIGTERM came; the process then ends its work and exits with 0.

    One whose work does not end soon, since Kafka is away or a call hangs, is ended with what it hangs in.
    """
    stopped = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    with _ended_in_time():
        try:
            yield stopped.is_set
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _ended_in_time() -> Iterator[None]:
    """Python's handlers wait for the main thread, which may hang: the wake-up descriptor does not."""
    told, tell = os.pipe()
    os.set_blocking(tell, False)

    def watch() -> None:
        with os.fdopen(told, "rb", buffering=0) as signals:
            while number := signals.read(1):  # empty at the end of the block
                if number[0] in (signal.SIGINT, signal.SIGTERM):
                    time.sleep(_SECONDS_TO_END)  # also what comes after the block may hang
                    end_now(
                        f"{signal.Signals(number[0]).name} came {_SECONDS_TO_END:g} s ago, and its work did not end"
                    )

    before = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    threading.Thread(target=watch, name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(tell)


class TimeType(click.ParamType):
    """A time: ISO 8601 (UTC unless it says otherwise) or milliseconds since the epoch, which it becomes."""

    name = "TIME"
    words: tuple[Start, ...] = ()

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Start:
        if isinstance(value, int):
            return value
        if value in self.words:
            return self.words[self.words.index(value)]
        if str(value).isdecimal():
            return int(value)
        try:
            time = datetime.fromisoformat(str(value))
        except ValueError:
            wanted = f"none of {', '.join(map(str, self.words))} and a time" if self.words else "not a time"
            self.fail(f"{value!r} is {wanted} such as 2026-01-31T08:00:00Z", param, ctx)
        return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


class StartType(TimeType):
    """Also earliest or latest."""

    name = "earliest|latest|TIME"
    words = ("earliest", "latest")


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
