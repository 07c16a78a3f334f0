"""What the demo shows while it runs: a live table on a terminal, else a plain line now and then."""

import math
import time
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol, Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stream_router.core.lane import CANARY, LANES, STABLE, Lane
from stream_router.demo.ledger import LaneCount
from stream_router.demo.report import shown

_PLAIN_EVERY: Final = 2.0
"""Seconds between two lines of the state."""

_STYLES: Final[Mapping[Lane, str]] = {STABLE: "green", CANARY: "yellow"}


class Picture(NamedTuple):
    """One moment. `evidence` and `threshold` are of the e-process, None before it has begun."""

    lanes: Mapping[Lane, LaneCount]
    shares: Mapping[Lane, float]
    versions: Mapping[Lane, str]
    evidence: float | None
    threshold: float | None
    newest_request: str | None


class Screen(Protocol):
    def say(self, sentence: str) -> None:
        """A line that stays."""

    def show(self, picture: Picture) -> None:
        """The state, in place of the one before where that is possible."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class PlainScreen:
    """A line for each sentence, and one for the state every two seconds."""

    def __init__(self, output: TextIO) -> None:
        self._output, self._begun, self._next = output, time.monotonic(), 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, sentence: str) -> None:
        self._output.write(f"{time.monotonic() - self._begun:5.1f} s  {sentence}\n")
        self._output.flush()

    def show(self, picture: Picture) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _PLAIN_EVERY
        self.say("; ".join([*(_line(lane, picture) for lane in LANES if _lives(lane, picture)), _evidence(picture)]))


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

    def show(self, picture: Picture) -> None:
        table = Table("lane", "model", box=None, padding=(0, 2))
        for heading in ("share", "requests", "labels joined", "accuracy [95 % interval]"):
            table.add_column(heading, justify="right")
        for lane in LANES:
            count = picture.lanes[lane]
            style = _STYLES[lane] if picture.shares[lane] else "dim"
            cells = (f"{picture.shares[lane]:.0%}", f"{count.requests:,}", f"{count.labelled:,}", shown(count))
            table.add_row(lane, picture.versions[lane], *cells, style=style)
        way = Table.grid(padding=(0, 2))
        newest = f"newest request {picture.newest_request}" if picture.newest_request else ""
        way.add_row(f"  {_evidence(picture)}", ProgressBar(total=1.0, completed=_way(picture), width=40), newest)
        self._live.start()
        self._live.update(Group("", table, "", way))


def screen_for(output: TextIO) -> Screen:
    console = Console(file=output)
    return TerminalScreen(console) if console.is_terminal else PlainScreen(output)


def _lives(lane: Lane, picture: Picture) -> bool:
    return bool(picture.shares[lane] or picture.lanes[lane].requests)


def _line(lane: Lane, picture: Picture) -> str:
    count = picture.lanes[lane]
    return f"{lane} {count.requests:,} requests, {count.labelled:,} labels, accuracy {shown(count)}"


def _evidence(picture: Picture) -> str:
    if picture.evidence is None or picture.threshold is None:
        return "no evidence yet"
    return f"evidence {picture.evidence:.2f} of {picture.threshold:.0f}"


def _way(picture: Picture) -> float:
    """How far the evidence is on its way from 1 to its threshold, in orders of magnitude; 0 to 1."""
    if not picture.evidence or not picture.threshold or picture.threshold <= 1:
        return 0.0
    return min(1.0, max(0.0, math.log(picture.evidence) / math.log(picture.threshold)))
