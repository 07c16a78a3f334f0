"""A route while it runs: a live table on a terminal, else a plain line now and then."""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stream_router.core.deciding.numbers import Status
from stream_router.core.lane import CANARY, LANES, STABLE, Lane
from stream_router.core.rollout.status import RolloutStatus
from stream_router.views.lane_count import LaneCount
from stream_router.views.report import accuracy_text, e_value_text, metric_row, way_to_rollback

_PLAIN_EVERY: Final = 2.0
"""Seconds between two lines of the state."""

_BAR: Final = 40
"""Width of the bar, in characters."""

_NUMBER: Final = re.compile(r"\d[\d.,:]*")

_STYLES: Final[Mapping[Lane, str]] = {STABLE: "green", CANARY: "yellow"}


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One moment of a route.

    `status` is None before the controller has shown one; `waits_for`: what has to come next, where no number tells.
    """

    lanes: Mapping[Lane, LaneCount]
    shares: Mapping[Lane, float]
    versions: Mapping[Lane, str]
    status: RolloutStatus | None
    newest_request: str | None
    waits_for: str | None = None


class Screen(Protocol):
    def say(self, sentence: str) -> None:
        """A line that stays."""

    def show(self, snapshot: Snapshot) -> None:
        """The state, in place of the one before where that is possible."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class PlainScreen:
    """A line for each sentence, and one for the state every two seconds in which it has changed."""

    def __init__(self, output: TextIO) -> None:
        self._output, self._begun, self._next, self._shown = output, time.monotonic(), 0.0, ""
        self._held: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, sentence: str) -> None:
        self._output.write(f"{time.monotonic() - self._begun:5.1f} s  {sentence}\n")
        self._output.flush()

    def show(self, snapshot: Snapshot) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _PLAIN_EVERY
        self._say_holds(snapshot.status)
        parts = [_line(lane, snapshot) for lane in LANES if snapshot.lanes[lane].requests]
        if snapshot.waits_for is None:
            parts.append(e_value_text(snapshot.status))
        else:
            parts.append(f"waiting for {snapshot.waits_for}")
        if (line := "; ".join(parts)) != self._shown:
            self._shown = line
            self.say(line)

    def _say_holds(self, status: RolloutStatus | None) -> None:
        """Each as it begins: what changes in it while it lasts are numbers."""
        held = {_NUMBER.sub("", sentence): sentence for sentence in (() if status is None else status.holds)}
        for kind in held.keys() - self._held:
            self.say(f"held: {held[kind]}")
        self._held = set(held)


class TerminalScreen:
    """Sentences scroll by above a table, which appears with the first state."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=8)
        self._begun = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, sentence: str) -> None:
        took = f"{time.monotonic() - self._begun:5.1f} s  "
        self._live.console.print(Text(took, style="dim").append(sentence, style="not dim"))

    def show(self, snapshot: Snapshot) -> None:
        table = Table("lane", "model", box=None, padding=(0, 2))
        for heading in ("share", "requests", "labels joined", "accuracy [95 % interval]"):
            table.add_column(heading, justify="right")
        for lane in LANES:
            count = snapshot.lanes[lane]
            style = _STYLES[lane] if snapshot.shares[lane] else "dim"
            cells = (f"{snapshot.shares[lane]:.0%}", f"{count.requests:,}", f"{count.labelled:,}", accuracy_text(count))
            table.add_row(lane, snapshot.versions[lane], *cells, style=style)
        way = Table.grid(padding=(0, 2))
        newest = f"newest request {snapshot.newest_request}" if snapshot.newest_request else ""
        way.add_row(f"  {e_value_text(snapshot.status)}", _bar(way_to_rollback(snapshot.status)), newest)
        waits = Text(f"  waiting for {snapshot.waits_for}" if snapshot.waits_for else "")
        self._live.start()
        self._live.update(Group("", table, "", way, waits, *_metrics(snapshot.status), *_holds(snapshot.status)))


def screen_for(output: TextIO) -> Screen:
    console = Console(file=output)
    return TerminalScreen(console) if console.is_interactive else PlainScreen(output)


def _bar(share: float) -> Text:
    """Two characters that differ also where there is no colour, and where only ASCII is shown."""
    filled = int(share * _BAR)
    return Text("[").append("#" * filled, style="bar.complete").append("." * (_BAR - filled)).append("]")


def _metrics(status: RolloutStatus | None) -> Iterator[Table | str]:
    """Each metric's verdict, once there is one."""
    if status is None or not status.metrics:
        return
    table = Table("metric", "role", "verdict", box=None, padding=(0, 2))
    for heading in ("e-value", "stable: bad", "canary: bad"):
        table.add_column(heading, justify="right")
    for metric in status.metrics:
        table.add_row(*metric_row(metric), style="red" if metric.verdict is Status.UNHEALTHY else "")
    yield ""
    yield table


def _holds(status: RolloutStatus | None) -> Iterator[Text]:
    """Why the rollout does not go on."""
    for sentence in () if status is None else status.holds:
        yield Text(f"  held: {sentence}", style="yellow")


def _line(lane: Lane, snapshot: Snapshot) -> str:
    count = snapshot.lanes[lane]
    return f"{lane} {count.requests:,} requests, {count.labelled:,} labels, accuracy {accuracy_text(count)}"
