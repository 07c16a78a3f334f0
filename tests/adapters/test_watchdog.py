"""A call that hangs ends the process, one that returns does not."""

import subprocess
import sys

HANG = """
import time
from stream_router.adapters.watchdog import watchdog
with watchdog("a call", {limit}):
    time.sleep({hang})
"""


def run(limit: float, hang: float) -> subprocess.CompletedProcess[str]:
    code = HANG.format(limit=limit, hang=hang)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_a_call_that_hangs_ends_the_process_and_is_named():
    ended = run(limit=0.1, hang=3600)
    assert ended.returncode == 1
    assert "a call" in ended.stdout + ended.stderr


def test_where_it_hung_is_shown_before_the_end():
    shown = run(limit=0.1, hang=3600).stderr
    assert "most recent call first" in shown
    assert 'File "<string>", line 5' in shown


def test_a_call_that_returns_is_left_alone():
    assert run(limit=3600, hang=0).returncode == 0
