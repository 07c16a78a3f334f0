"""`stream-router policy`: what it says of files, and that what it shows it accepts."""

import json

import pytest
from click.testing import CliRunner

from stream_router.cli import main
from stream_router.core.policy import Policy


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments, file=None):
        if file is not None:
            (tmp_path / "policy.yaml").write_text(file)
        return CliRunner().invoke(main, ["policy", *arguments])

    return run


def test_a_good_file_is_told_in_words(run):
    checked = run("check", "policy.yaml", file="steps: [{weight: 0.1, hold_for: 6h, until: approved}]\nalpha: 0.01")
    assert checked.exit_code == 0
    assert checked.output.startswith("policy.yaml is a good policy.\n")
    assert "1. 10 % of the requests for 6h at least, until 100 labels, every guardrail is healthy and a person" in (
        checked.output
    )
    assert "Back, of healthy canaries at most 1 %" in checked.output


def test_a_bad_one_is_told_by_line_with_exit_code_2(run):
    checked = run("check", "policy.yaml", file="alpha: 5\nsurprise: 1")
    assert (checked.exit_code, checked.stdout) == (2, "")
    assert "policy file 'policy.yaml' has 2 faults:\n  line 1, column 1: alpha is 5" in checked.stderr
    assert "\n  line 2, column 1: surprise is no field" in checked.stderr


def test_scripts_read_the_faults(run):
    checked = run("check", "policy.yaml", "--output", "json", file="a: 1\nalpha: 0.1")
    told = json.loads(checked.stdout)
    assert (checked.exit_code, told["valid"], told["digest"]) == (2, False, None)
    assert [(fault["line"], fault["column"]) for fault in told["faults"]] == [(1, 1)]
    good = json.loads(run("check", "policy.yaml", "--output", "json", file="").stdout)
    assert (good["valid"], good["digest"], good["faults"]) == (True, Policy().digest, [])


def test_the_policy_that_is_shown_is_a_good_file_with_the_same_digest(run):
    shown = run("show", "--route", "flights")
    assert "route flights" in shown.output
    assert Policy().digest in shown.output
    assert f"Digest {Policy().digest}" in run("check", "policy.yaml", file=shown.output).output


def test_the_digest_is_that_of_the_verdicts_so_route_settings_change_it(run, monkeypatch):
    monkeypatch.setenv("STREAM_ROUTER_ROUTE__WINDOW", "10s")
    shown = json.loads(run("show", "--output", "json").stdout)
    assert shown["digest"] == Policy(window=10_000).digest
    assert shown["route_settings"]["window"] == "10s"
    assert shown["policy"]["steps"][0] == {"weight": 0.01, "hold_for": "0s", "min_labels": 100}


def test_a_flag_wins_over_the_setting(run, monkeypatch, tmp_path):
    (tmp_path / "other.yaml").write_text("alpha: 0.02")
    (tmp_path / "policy.yaml").write_text("alpha: 0.01")
    monkeypatch.setenv("STREAM_ROUTER_POLICY", "other.yaml")
    assert json.loads(run("show", "--output", "json").stdout)["policy"]["alpha"] == 0.02
    assert json.loads(run("show", "--policy", "policy.yaml", "--output", "json").stdout)["policy"]["alpha"] == 0.01


def test_the_schema_is_json(run):
    schema = json.loads(run("schema").stdout)
    assert schema["title"] == "Policy of stream-router"
    assert "steps" in schema["properties"]


@pytest.mark.parametrize("name", ["none.yaml", "/dev/zero"])
def test_what_is_no_file_of_a_policy_is_refused(run, name):
    refused = run("check", name)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith("stream-router: policy file")
