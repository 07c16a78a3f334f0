"""A route as people look at it, on any terminal."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console
from support.status import METRICS, STATUS, TRIAL

from stream_router.core.deciding.numbers import Status
from stream_router.views.lane_count import LaneCount
from stream_router.views.terminal import PlainScreen, Snapshot, TerminalScreen, screen_for

NOTHING_YET = Snapshot(
    lanes={"stable": LaneCount(), "canary": LaneCount()},
    shares={"stable": 1.0, "canary": 0.0},
    versions={"stable": "6", "canary": "7"},
    status=None,
    newest_request=None,
    waits_for="the first requests",
)
COUNTED = replace(NOTHING_YET, lanes=NOTHING_YET.lanes | {"stable": LaneCount(100, 50, 45)})


class Terminal(io.StringIO):
    def isatty(self):
        return True


def drawn(snapshot, **console):
    """The last frame, as one sees it who sees no colour."""
    output = io.StringIO()
    with TerminalScreen(Console(file=output, force_terminal=True, width=140, **console)) as screen:
        screen.show(snapshot)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output.getvalue())


def plain(snapshot):
    output = io.StringIO()
    with PlainScreen(output) as screen:
        screen.show(snapshot)
    return output.getvalue()


def with_e_value(e_value):
    trial = replace(TRIAL, e_value=e_value)
    return replace(COUNTED, status=replace(STATUS, trial=trial, holds=()), waits_for=None)


@pytest.mark.parametrize("colours", [{"no_color": True}, {"color_system": None}, {"color_system": "truecolor"}])
@pytest.mark.parametrize(
    ("snapshot", "filled"),
    [
        (NOTHING_YET, 0),
        (with_e_value(1.0), 0),
        (with_e_value(0.3), 0),
        (with_e_value(20**0.5), 20),
        (with_e_value(20.0), 40),
    ],
)
def test_the_bar_is_as_full_as_the_evidence_also_without_colour(snapshot, filled, colours):
    assert f"[{'#' * filled}{'.' * (40 - filled)}]" in drawn(snapshot, **colours)


def test_what_is_waited_for_is_said_instead_of_zeros():
    line = plain(NOTHING_YET).partition(" s  ")[2]
    assert line == "waiting for the first requests\n"
    assert "waiting for the first requests" in drawn(NOTHING_YET)


def test_what_has_been_counted_is_shown_beside_the_wait():
    line = plain(COUNTED)
    assert "stable 100 requests, 50 labels" in line
    assert line.endswith("; waiting for the first requests\n")
    assert "canary" not in line


def test_a_wait_is_said_once(monkeypatch):
    moments = iter(range(0, 1000, 10))
    monkeypatch.setattr("stream_router.views.terminal.time.monotonic", lambda: next(moments))
    output = io.StringIO()
    screen = PlainScreen(output)
    for snapshot in (NOTHING_YET, NOTHING_YET, COUNTED, COUNTED):
        screen.show(snapshot)
    assert len(output.getvalue().splitlines()) == 2


def test_where_the_evidence_tells_nothing_is_waited_for():
    assert "waiting" not in drawn(with_e_value(4.0))
    assert plain(with_e_value(4.0)).endswith("; e-value 4.00 of 20\n")


@pytest.mark.parametrize(
    ("name", "screen"), [("dumb", PlainScreen), ("unknown", PlainScreen), ("xterm", TerminalScreen)]
)
def test_a_terminal_that_cannot_redraw_gets_lines(monkeypatch, name, screen):
    monkeypatch.setenv("TERM", name)
    assert isinstance(screen_for(Terminal()), screen)


def test_a_pipe_gets_lines():
    assert isinstance(screen_for(io.StringIO()), PlainScreen)


def test_each_metric_has_a_row_with_its_verdict_and_its_numbers():
    status = replace(STATUS, trial=TRIAL, metrics=METRICS)
    lines = drawn(replace(COUNTED, status=status)).splitlines()
    rows = {line.split()[0]: " ".join(line.split()) for line in lines if line.strip()}
    assert rows["accuracy"] == "accuracy guardrail inconclusive 1.50 of 33.3 18 of 180 3 of 20"
    assert rows["silence"] == "silence guardrail unhealthy"
    assert "metric" not in drawn(replace(COUNTED, status=replace(status, metrics=())))


def test_a_rule_without_an_e_value_is_told_as_one():
    decided = replace(TRIAL, verdict=Status.UNHEALTHY, metric="silence", e_value=None, threshold=None)
    snapshot = replace(COUNTED, status=replace(STATUS, trial=decided, holds=()), waits_for=None)
    assert plain(snapshot).endswith("; unhealthy, by the rule silence\n")
    assert f"[{'.' * 40}]" in drawn(snapshot)


def test_a_hold_is_drawn_and_on_a_line_said_once_however_its_numbers_change(monkeypatch):
    moments = iter(range(0, 1000, 10))
    monkeypatch.setattr("stream_router.views.terminal.time.monotonic", lambda: next(moments))
    output = io.StringIO()
    screen = PlainScreen(output)
    held = [(), ("none of the 1,234 predictions has a label yet",), ("none of the 1,240 predictions has a label yet",)]
    for holds in [*held, (), *held]:
        screen.show(replace(COUNTED, status=replace(STATUS, holds=holds)))
    said = [line.partition(" s  ")[2] for line in output.getvalue().splitlines() if "held" in line]
    assert said == ["held: none of the 1,234 predictions has a label yet"] * 2
    assert "held: none of the 1,234 predictions" in drawn(replace(COUNTED, status=replace(STATUS, holds=held[1])))
