"""docs/policy.md: its policy is a good one, and its commands print what stands there."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from stream_router.cli import main
from stream_router.policies.policy_file import PolicyFile, StepSettings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "policy.md"
TEXT = PAGE.read_text()
GOOD, WRONG = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
TRANSCRIPTS = [
    (line, printed)
    for block in re.findall(r"^```\n(\$ .*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    for line, printed in re.findall(r"^\$ stream-router (.+)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
]
NEED_SERVERS = ("backtest", "monitor")


@pytest.mark.parametrize(("line", "printed"), TRANSCRIPTS, ids=[line for line, _ in TRANSCRIPTS])
def test_a_command_prints_what_the_page_says(line, printed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("policy.yaml").write_text(GOOD)
    Path("wrong.yaml").write_text(WRONG)
    words = shlex.split(line.partition(" > ")[0])
    if words[0] in NEED_SERVERS:
        command = main.get_command(main.make_context("stream-router", [], resilient_parsing=True), words[0])
        assert command.make_context(words[0], words[1:]).params["policy"] == Path("policy.yaml")
        return
    result = CliRunner().invoke(main, words, env={"COLUMNS": "120"})
    assert result.exit_code == (2 if "wrong.yaml" in words else 0), result.output
    assert printed in ("", result.output)


def test_each_command_of_the_policy_and_each_that_takes_one_is_shown():
    shown = {" ".join(line.split()[: 2 if line.startswith("policy") else 1]) for line, _ in TRANSCRIPTS}
    assert shown == {"policy check", "policy show", "policy schema", "backtest", "plan", "monitor"}


def test_what_check_says_stands_on_the_page():
    assert {line for line, printed in TRANSCRIPTS if printed} >= {"policy check policy.yaml", "policy check wrong.yaml"}


def test_each_line_of_the_policy_is_explained():
    """Each field that it sets stands in backticks behind it."""
    document = yaml.safe_load(GOOD)
    explained = " ".join(re.findall(r"`([^`\n]+)`", TEXT.partition(GOOD)[2]))
    fields = {*document, *(name for step in document["steps"] for name in step), *document["metrics"]}
    assert [name for name in fields if not re.search(rf"\b{name}\b", explained)] == []


def test_fields_of_the_page_exist():
    fields = {*PolicyFile.model_fields, *StepSettings.model_fields}
    assert set(re.findall(r"^\*\*`(\w+)`\*\*", TEXT, re.MULTILINE)) <= fields
