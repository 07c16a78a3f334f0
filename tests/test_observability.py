"""Logs without secrets, metrics by the conventions."""

import json
import logging
import re
import subprocess
import sys

import pytest
import structlog
from prometheus_client import REGISTRY

from stream_router.adapters import metrics
from stream_router.adapters.logging import configure_logging, hide_secrets

PASSWORD = "hunter2-hunter2"  # noqa: S105 - must not turn up anywhere
UNITS = ("_total", "_seconds", "_ratio", "_timestamp_seconds", "_info", "_epoch", "_value")
UNITS += (
    "_rows",
    "_labels",
    "_records",
    "_outcomes",
    "_watermarks",
    "_rollouts",
    "_jobs",
    "_holds",
)  # what a gauge counts


def ours():
    return [family for family in REGISTRY.collect() if family.name.startswith("stream_router_")]


def test_json_logs_are_one_object_a_line(capsys):
    configure_logging("json", "info")
    structlog.get_logger().info("routed", lane="canary", count=3)
    structlog.get_logger().debug("not heard")
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["level"], entry["lane"], entry["count"]) == ("routed", "info", "canary", 3)
    assert entry["timestamp"].endswith("Z")


def test_what_libraries_log_has_the_same_form(capsys):
    configure_logging("json", "info")
    logging.getLogger("some.library").warning("lost %s", "a connection")
    logging.getLogger("some.library").error("failed", exc_info=ValueError("boom"))
    logging.getLogger("some.library").info("not heard")
    lost, failed = map(json.loads, capsys.readouterr().err.splitlines())
    assert (lost["event"], lost["level"], lost["logger"]) == ("lost a connection", "warning", "some.library")
    assert lost["timestamp"].endswith("Z")
    assert "ValueError: boom" in failed["exception"]


def test_warnings_of_python_have_the_same_form():
    """In a process of its own, since pytest has taken the warnings of this one."""
    code = (
        "from stream_router.adapters.logging import configure_logging\n"
        "configure_logging('json')\n"
        "import warnings\n"
        "warnings.warn('old way')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    (line,) = run.stderr.splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["logger"]) == ("warning", "py.warnings")
    assert "UserWarning: old way" in entry["event"]


def test_text_logs_go_to_stderr(capsys):
    configure_logging("text", "debug")
    structlog.get_logger().debug("routed", lane="canary")
    shown = capsys.readouterr()
    assert "lane=canary" in shown.err
    assert not shown.out


@pytest.mark.parametrize(
    "fields",
    [
        {"redis_url": f"redis://me:{PASSWORD}@host:1/0"},
        {"url": f"redis://me:{PASSWORD}@host:1/0"},
        {"url": f"redis://host:1/0?password={PASSWORD}"},
        {"url": f"redis://:with space {PASSWORD}@host:1/0"},
        {"error": f"Redis at redis://host:1/0?password={PASSWORD} does not answer"},
        {"password": PASSWORD},
        {"kafka": {"sasl.password": PASSWORD, "ssl": {"key.password": PASSWORD}}},
    ],
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_logged(capsys, fields, form):
    configure_logging(form)
    structlog.get_logger().warning("connecting", **fields)
    assert PASSWORD not in capsys.readouterr().err


def test_what_is_no_secret_is_logged_as_it_is():
    event = {"event": "routed", "key": "N123", "keys": 3, "kafka": {"linger.ms": "5"}}
    assert hide_secrets(None, "info", dict(event)) == event


def test_metrics_have_the_prefix_and_base_units_and_say_what_they_are():
    names = [sample.name for family in ours() for sample in family.samples if not sample.name.endswith("_created")]
    assert len(ours()) >= 10
    for family in ours():
        assert family.documentation
    for name in names:
        assert re.sub(r"_(bucket|count|sum)$", "", name).endswith(UNITS), name


def test_labels_are_bounded():
    for metric in vars(metrics).values():
        for label in getattr(metric, "_labelnames", ()):
            assert label in ("route", "group", "lane", "topic", "outcome", "reason", "metric")
