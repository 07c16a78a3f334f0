"""The command line: help with an example everywhere, one line for an error, exit codes for scripts."""

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from stream_router import errors
from stream_router.cli import COMMANDS, group, main


def commands(command=main, path=()):
    """Every command and group, with the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*path, name))


def run(*arguments, environment=None):
    return CliRunner().invoke(main, arguments, env=environment)


ALL = [pytest.param(path, id=" ".join(path) or "stream-router") for path, _ in commands()]


@pytest.mark.parametrize("path", ALL)
def test_every_help_shows_an_example_that_names_the_command(path):
    shown = run(*path, "--help")
    assert shown.exit_code == 0
    _, found, example = shown.output.partition("Example")
    assert found, shown.output
    assert f"stream-router {' '.join(path)}".strip() in example


@pytest.mark.parametrize("path", ALL)
def test_every_option_says_what_it_does(path):
    command = dict(commands())[path]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            plain = parameter.type.name in ("choice", "integer range", "float range")
            assert parameter.help or plain, parameter.name


def test_the_summary_is_shown_without_importing_the_commands():
    code = (
        "import sys; from stream_router.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'faust', 'numpy', 'confluent_kafka', 'redis', 'sklearn', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    for name, summary in COMMANDS.items():
        assert name in ended.stdout
        assert summary[:40] in ended.stdout


def test_the_module_is_the_command():
    ended = subprocess.run([sys.executable, "-m", "stream_router", "--version"], check=False, capture_output=True)
    assert ended.returncode == 0
    assert ended.stdout.strip()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["unknown"], 2, "No such command"),
        (["topics", "apply"], 2, "--route"),
        (["topics", "apply", "--route", "flights", "--kafka", "linger.ms"], 2, "KEY=VALUE"),
        (["topics", "apply", "--route", "a b"], 2, "'a b' is not a name"),
        (["topics", "apply", "--route", "flights", "--config", "none.toml"], 2, "'none.toml' does not exist"),
        (["topics", "apply", "--route", "flights", "--kafka", "no.such=1"], 2, "no.such"),
    ],
)
def test_usage_errors_end_with_2_and_one_line(arguments, code, said):
    ended = run(*arguments)
    assert ended.exit_code == code, ended.output
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def every_error(error=errors.StreamRouterError):
    yield error
    for narrower in error.__subclasses__():
        yield from every_error(narrower)


@pytest.fixture
def main_that_raises(monkeypatch):
    def build(error):
        @click.command
        def command():
            raise error

        monkeypatch.setattr(group.LazyGroup, "get_command", lambda *_: command)
        return CliRunner().invoke(main, ["route"])

    return build


@pytest.mark.parametrize("error", list(every_error()), ids=lambda error: error.__name__)
def test_an_error_of_ours_is_its_line_its_exit_code_and_whether_a_restart_mends_it(main_that_raises, error):
    ended = main_that_raises(error("what was wrong and what to do"))
    first, *rest = ended.stderr.splitlines()
    assert first == "stream-router: what was wrong and what to do"
    assert len(rest) == error.restart_mends
    assert "goes on where this one ended" in "".join(rest) or not rest
    assert ended.exit_code == error.exit_code
    assert ended.exit_code in (1, 2, 4, 6, 7)


def test_an_interrupt_ends_with_130(main_that_raises):
    assert main_that_raises(KeyboardInterrupt()).exit_code == 130


def test_what_is_no_error_of_ours_is_not_hidden(main_that_raises):
    assert isinstance(main_that_raises(ZeroDivisionError()).exception, ZeroDivisionError)


def test_a_plan_needs_no_server_and_is_the_same_again():
    given = ("plan", "--drop", "0.1", "--share", "0.1", "--rate", "50", "--label-delay", "2h", "--runs", "10")
    first, second = (run(*given, "--output", "json") for _ in range(2))
    assert first.exit_code == 0, first.output
    assert first.output == second.output
    assert json.loads(first.output)["bad_canary"]["rolled_back"]["of"] == 10


def test_an_impossible_plan_is_refused_with_its_values():
    shown = run("plan", "--drop", "0.1", "--share", "2", "--rate", "50", "--label-delay", "2x")
    assert shown.exit_code == 2
    assert "'2x' is not a duration such as 30s" in shown.output
