"""What libraries in C write to stderr, as JSON lines."""

import json
import subprocess
import sys

import pytest

from stream_router.adapters.logging import configure_logging
from stream_router.adapters.native_lines import log_line

START = """
import os, sys, faulthandler
from stream_router.adapters.logging import configure_logging
from stream_router.adapters.native_lines import log_native_lines
log_native_lines()
configure_logging("json")
"""


def stderr_of(code):
    return subprocess.run([sys.executable, "-c", START + code], check=False, capture_output=True, text=True).stderr


@pytest.mark.parametrize(("number", "level"), [(0, "critical"), (2, "critical"), (3, "error"), (4, "warning")])
def test_a_line_of_librdkafka_keeps_its_level_and_text(capsys, number, level):
    configure_logging("json")
    log_line(f"%{number}|1795575544.268|FATAL|stream-router#producer-2| [thrd:main]: Fatal error: a | b")
    entry = json.loads(capsys.readouterr().err)
    assert (entry["level"], entry["logger"]) == (level, "librdkafka")
    assert entry["event"] == "FATAL stream-router#producer-2: [thrd:main]: Fatal error: a | b"


WRITE = r"""
for _ in range(500):
    os.write(2, b"%5|1.5|INFO|c| hello\nother \xff\n")
os.write(2, b"unfinished")
"""


def test_lines_of_c_libraries_are_log_lines_to_the_last_one():
    entries = [json.loads(line)["event"] for line in stderr_of(WRITE).splitlines()]
    assert entries == ["INFO c: hello", r"other \xff"] * 500 + ["unfinished"]


def test_what_python_writes_to_stderr_goes_where_it_went():
    shown = stderr_of('faulthandler.dump_traceback(sys.__stderr__); print("plain", file=sys.stderr); 1 / 0')
    assert "most recent call first" in shown
    assert "plain\n" in shown
    assert "ZeroDivisionError" in shown
