"""docs/decision.md and docs/monitor.md say what the code does: formulas, figures, names and commands."""

import importlib.util
import random
import re
import shlex
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, get_args
from xml.etree import ElementTree as ET

import pytest
import yaml
from click.testing import CliRunner
from decision_plot import PLOT, simulate
from decision_plot import drawn as drawn_plot
from decision_plot import main as draw
from support.status import METRICS, STATUS, TRIAL

from stream_router.adapters.redis.fields import status_to_fields
from stream_router.cli import main as command_line
from stream_router.core.dead_letter import REASON_HEADER
from stream_router.core.deciding.e_process import EProcess
from stream_router.core.deciding.metrics.registry import judged
from stream_router.core.joining.join import Kind
from stream_router.core.lane import LANES
from stream_router.core.policy import METRICS as DEFAULT_METRICS
from stream_router.core.policy import MetricName, Policy
from stream_router.core.rollout.situation import Rule
from stream_router.core.route import Route
from stream_router.policies.policy_file import PolicyFile
from stream_router.settings import RouteSettings, Settings

ROOT = Path(__file__).resolve().parents[1]
DECISION, MONITOR = (ROOT / "docs" / f"{name}.md" for name in ("decision", "monitor"))
PARTS = ("route.", "policy.")
ALPHA = 0.03
"""Accuracy's part of alpha."""


def text(page: Path) -> str:
    return page.read_text()


def in_lines(page: Path) -> str:
    """With the lines of a paragraph joined, as a reader reads them."""
    return " ".join(text(page).split())


def names(told: str) -> set[str]:
    """What stands in backticks."""
    return set(re.findall(r"`([^`\n]+)`", told))


def rows(page: Path, first_cell: str) -> list[list[str]]:
    """The cells of the rows of the one table whose first heading this is."""
    [found] = re.findall(rf"^\| {re.escape(first_cell)} \|.*\n\| -.*\n((?:\|.*\n)+)", text(page), re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found.splitlines()]


def transcript(page: Path, command: str) -> tuple[list[str], str]:
    """The arguments of the one example of the command, and what it prints there."""
    [(line, printed)] = re.findall(
        rf"^```\n\$ stream-router ({command}[^\n]*)\n(.*?)^```$", text(page), re.MULTILINE | re.DOTALL
    )
    return shlex.split(line), printed


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    [code] = re.findall(r"^```python\n(.*?)^```$", text(DECISION), re.MULTILINE | re.DOTALL)
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, DECISION.name, "exec"), namespace)  # noqa: S102 - our own example
    return namespace


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# How a canary is judged.


@pytest.mark.parametrize("seed", range(20))
def test_the_page_computes_the_e_values_of_the_code(example: dict[str, Any], seed: int) -> None:
    rng, blocks = random.Random(seed), []
    for _ in range(60):
        n_b = rng.randint(0, 20)
        blocks.append((100 - n_b, n_b, rng.randint(0, min(20, 100 - n_b)), rng.randint(0, n_b // 3)))
    told = example["e_values"](blocks, alpha=ALPHA)
    test = EProcess(alpha=ALPHA, psi0=1.0, max_labels=20_000)
    for block, e_value in zip(blocks, told, strict=False):
        test.update(*block)
        assert e_value == pytest.approx(test.e_value, rel=1e-9)
    assert test.unhealthy == (len(told) < len(blocks)) or told[-1] == pytest.approx(1 / ALPHA)


def test_the_worked_block_is_recomputed(example: dict[str, Any]) -> None:
    table = rows(DECISION, "x")
    xs, null, ratios = example["laws"](90, 10, 9 + 3)
    bet = [sum(m * ratio[x] for m, ratio in zip(example["FIRST"], ratios, strict=True)) + 0.25 for x in xs]
    factors = example["boosted"](null, bet, 1 / ALPHA)
    assert [int(row[0]) for row in table] == xs[: len(table)]
    for x, *told in table:
        assert told == [f"{value[int(x)]:.4f}" for value in (null, bet, factors)]
    [e_value] = example["e_values"]([(90, 10, 9, 3)], alpha=ALPHA)
    b = factors[0] / bet[0]
    assert f"b is {b:.4f}" in in_lines(DECISION)
    assert f"becomes 1 · F(3) = {e_value:.2f}" in in_lines(DECISION)


def test_each_metric_is_told_with_when_it_is_ripe() -> None:
    known = {one.name: one.known for one, _ in judged(Policy())}
    ripe = {"prediction": "`prediction_deadline`", "label": "the ripe age", "maturity": "`label_horizon`"}
    told = {name: row[-1] for row in rows(DECISION, "metric") for name in names(row[0])}
    assert told == {name: ripe[known[name]] for name in get_args(MetricName)}


def test_thresholds_are_those_of_the_default_weights() -> None:
    weights = {one.name: one.weight for one in DEFAULT_METRICS}
    for name in ("accuracy", "error_rate"):
        threshold = 1 / (Policy().alpha * weights[name])
        assert f"{threshold:.4g} for `{name}` ({weights[name]:g})" in in_lines(DECISION)


def test_the_plan_is_what_the_command_prints() -> None:
    arguments, printed = transcript(DECISION, "plan")
    result = CliRunner().invoke(command_line, arguments, env={"COLUMNS": "120"})
    assert result.output == printed


def test_the_plot_is_that_of_the_benchmark_and_the_page_says_what_it_shows(tmp_path: Path) -> None:
    file = tmp_path / "e_values.svg"
    result = CliRunner().invoke(draw, ["--write", str(file)])
    assert PLOT.read_text() == file.read_text(), "run python benchmarks/decision_plot.py"
    assert result.output.strip() in in_lines(DECISION)
    assert PLOT.relative_to(DECISION.parent).as_posix() in text(DECISION)


def test_the_plot_has_a_curve_a_rollout() -> None:
    svg = ET.fromstring(drawn_plot(simulate(3, Policy(), seed=2), 1 / ALPHA))  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    assert len(svg.findall(f".//{space}path")) == 6


# Running the monitor.


def test_every_topic_of_the_monitor_is_told_as_it_is_declared() -> None:
    told = {
        name: ("reads" in row[2], "writes" in row[2]) for row in rows(MONITOR, "topic") for name in row[0].split(", ")
    }
    for file in (ROOT / "topics").glob("*.yaml"):
        declared = yaml.safe_load(file.read_text())
        reads, writes = ("monitor" in declared[side] for side in ("consumers", "producers"))
        name = declared["name"].replace("{route}", "R")
        if name in ("R.requests.stable", "R.requests.canary"):
            assert told.pop(name) == (True, False), "its waiting requests are looked at"
        elif reads or writes:
            # R.splits and others are read by all; what it writes is declared.
            assert told.pop(name)[1] == writes, name
    assert told == {}


def test_every_group_and_transactional_id_is_told() -> None:
    route = Route("R")
    told = "".join(row[0] for row in rows(MONITOR, "group or transactional id"))
    groups = [route.monitor_group, route.evidence_group, route.controller_group, *map(route.scoring_group, LANES)]
    assert [group for group in groups if group not in told] == []


def test_every_reason_for_a_hold_has_its_row() -> None:
    told = {name for row in rows(MONITOR, "reason") for name in names(row[0])}
    assert told == set(get_args(Rule))


def test_every_metric_that_the_monitor_serves_has_its_row(generate: ModuleType) -> None:
    served = {metric.name for metric in generate.metrics_served() if "monitor" in metric.processes}
    assert {name for row in rows(MONITOR, "metric") for name in names(row[0])} == served


def test_alerts_are_of_metrics_that_the_monitor_serves(generate: ModuleType) -> None:
    served = {metric.name for metric in generate.metrics_served() if "monitor" in metric.processes}
    assert set(re.findall(r"stream_router_\w+", text(MONITOR).replace("`stream_router:", ""))) <= served
    [rules] = re.findall(r"^```yaml\n(.*?)^```$", text(MONITOR), re.MULTILINE | re.DOTALL)
    [group] = yaml.safe_load(rules)["groups"]
    for rule in group["rules"]:
        assert set(re.findall(r"stream_router_\w+", rule["expr"])) & served, rule
        for reasons in re.findall(r'reason=~"([^"]+)"', rule["expr"]):
            assert set(reasons.split("|")) <= set(get_args(Rule))


def test_every_field_of_rollout_is_told() -> None:
    fields = status_to_fields(_whole_status()).keys()
    told = {name for row in rows(MONITOR, "field") for name in names(row[0])}
    assert {"metric:<name>" if name.startswith("metric:") else name for name in fields} == told


def test_what_becomes_of_a_label_is_told() -> None:
    assert set(get_args(Kind)) <= names(text(MONITOR))
    assert REASON_HEADER in names(text(MONITOR))


@pytest.mark.parametrize("page", [DECISION, MONITOR], ids=["decision", "monitor"])
def test_commands_can_be_read(page: Path) -> None:
    lines = re.findall(r"^\$ stream-router (.+)$", text(page), re.MULTILINE)
    assert lines
    context = command_line.make_context("stream-router", [], resilient_parsing=True)
    for line in lines:
        name, *arguments = shlex.split(line)
        command = command_line.get_command(context, name)
        assert command is not None, line
        command.make_context(name, arguments)


@pytest.mark.parametrize("page", [DECISION, MONITOR], ids=["decision", "monitor"])
def test_settings_that_are_named_exist(page: Path) -> None:
    told = {part: {name.removeprefix(part) for name in names(text(page)) if name.startswith(part)} for part in PARTS}
    assert told["route."] <= RouteSettings.model_fields.keys()
    assert told["policy."] <= {*PolicyFile.model_fields, "md"}
    if page == MONITOR:
        top = {name.partition(".")[0] for row in rows(page, "setting") for name in names(row[0])}
        assert top <= Settings.model_fields.keys()


def test_the_readme_links_both() -> None:
    readme = text(ROOT / "README.md")
    assert all(f"(docs/{page.name})" in readme for page in (DECISION, MONITOR))


def _whole_status() -> Any:
    return replace(STATUS, trial=TRIAL, metrics=METRICS)
