"""Tests that leave processes behind: run by test_run.py in runs of their own, which it ends."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from support.run import run_folder

LEFT = ["sleep", "543"]


def leave_a_process() -> None:
    process = subprocess.Popen(LEFT, start_new_session=True)
    process.returncode = 0  # so that nobody minds that it still runs


def run_on() -> None:
    Path(os.environ["READY"]).write_text(str(run_folder()))
    time.sleep(543)


def test_that_leaves_a_process() -> None:
    leave_a_process()


def test_that_leaves_a_process_and_runs_on() -> None:
    leave_a_process()
    run_on()


@pytest.mark.stack
def test_that_runs_on_with_servers_and_a_command(route, stack_processes) -> None:
    router = stack_processes.start("route", "--route", route.name)
    assert router.running()
    run_on()
