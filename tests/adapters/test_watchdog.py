"""A process that was told to end does, also where its work hangs in a call."""

import signal
import subprocess
import sys

import pytest

WORK = """
import ctypes, sys, time
from stream_router.cli.running import stop_on_signal
with stop_on_signal() as stop:
    print("works", flush=True)
    {work}
"""
HANGS = "c, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64); [c.pthread_mutex_lock(mutex) for _ in range(2)]"
"""In a call of C that no signal interrupts, no handler of Python's runs."""


def told(number: signal.Signals, work: str) -> tuple[int, str]:
    with subprocess.Popen(
        [sys.executable, "-c", WORK.format(work=work)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "works\n"
        process.send_signal(number)
        return process.wait(60), process.stdout.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_work_that_hangs_is_ended_and_shown(number):
    code, text = told(number, HANGS)
    assert code == 1
    assert number.name in text
    assert "most recent call first" in text
    assert 'File "<string>", line 6' in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_work_that_ends_is_left_alone(number):
    assert told(number, "while not stop(): time.sleep(0.01)") == (0, "")


def test_a_hang_after_the_work_is_ended_too():
    code, text = told(signal.SIGTERM, f"while not stop(): time.sleep(0.01)\n{HANGS}")
    assert code == 1
    assert "SIGTERM" in text
