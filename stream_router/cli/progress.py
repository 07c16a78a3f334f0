"""How far a command has read, on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

_PLAIN_EVERY: Final = 10.0
"""Seconds between two lines of the progress where no terminal shows a bar."""


@contextmanager
def progress(doing: str) -> Iterator[Callable[[int, int], None]]:
    """Yields what is told the offsets read and all there are: a bar on a terminal, else a line now and then."""
    console = Console(stderr=True)
    columns = (TextColumn(doing), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_interactive, transient=True) as bar:
        task, next_line = bar.add_task(doing, total=None), time.monotonic() + _PLAIN_EVERY

        def report(read: int, total: int) -> None:
            nonlocal next_line
            bar.update(task, completed=read, total=total)
            if not console.is_interactive and time.monotonic() >= next_line:
                next_line = time.monotonic() + _PLAIN_EVERY
                sys.stderr.write(f"{doing}: {read:,} of {total:,} offsets\n")
                sys.stderr.flush()

        yield report
