"""docs/rollouts.md: each command can be read, each phase and each verb is told."""

import re
import shlex
from pathlib import Path
from typing import get_args

import click
import pytest

import stream_router
from stream_router.cli.rollout import command
from stream_router.core.rollout.phases import Phase

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "rollouts.md").read_text()
LINES = re.findall(r"^\$ stream-router rollout (.+)$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("line", LINES)
def test_a_command_can_be_read(line: str) -> None:
    name, *arguments = shlex.split(line)
    verb = command.commands[name]
    assert isinstance(verb, click.Command)
    assert verb.make_context(name, arguments).params["route"] == "fraud"


def test_every_verb_is_shown() -> None:
    assert {line.split()[0] for line in LINES} == set(command.commands)


def test_every_phase_is_told() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", TEXT.partition("## Phases")[2].partition("\n## ")[0], re.MULTILINE)
    assert rows == list(get_args(Phase))


def test_the_python_of_the_page_is_that_of_the_api() -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    for name in re.findall(r"rollouts\.(\w+)\(", block):
        assert callable(getattr(stream_router.Rollouts, name))
    compile(block, "rollouts.md", "exec")
