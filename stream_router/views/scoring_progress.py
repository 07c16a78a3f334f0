"""How far a batch job is, on a terminal only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


@contextmanager
def scoring_progress(*, shown: bool, console: Console | None = None) -> Iterator[Callable[[int, int | None], None]]:
    """Yields what is told of the predictions so far and of the offsets that are left, where that is known.

    Drawn on stderr, where that is a terminal and `shown`; removed at the end, as a summary follows.
    """
    console = console or Console(stderr=True)
    if not (shown and console.is_terminal):
        yield lambda _done, _left: None
        return
    columns = (
        TextColumn("scoring"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[done]:,} predictions, {task.fields[rate]:,.0f} a second"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, done=0, rate=0.0)
        whole: int | None = None

        def tell(done: int, left: int | None) -> None:
            nonlocal whole
            whole = left if whole is None else whole
            elapsed = bar.tasks[0].elapsed or 0.0
            at = None if whole is None or left is None else whole - left
            bar.update(task, total=whole, completed=at, done=done, rate=done / elapsed if elapsed else 0.0)

        yield tell
