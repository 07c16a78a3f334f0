"""A run of the tests leaves no process behind, however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.endless import LEFT
from support.leftovers import processes_with
from support.run import MARK
from support.waiting import BUSY, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

TESTS = Path(__file__).parent
ENDLESS = f"{TESTS}/support/endless.py::test_that_"
PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--rootdir={TESTS.parent}")


@pytest.fixture
def started(tmp_path):
    """Starts a run that goes on until it is ended; gives its process and the folder of the run."""
    processes, ready = [], tmp_path / "ready"

    def start(*command, **environment):
        with (tmp_path / "output").open("wb") as output:
            environment = os.environ | {"READY": str(ready)} | environment
            process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
        processes.append(process)

        def folder():
            assert process.poll() is None, (tmp_path / "output").read_text()
            return ready.exists() and ready.read_text()

        return process, wait_until(folder, 120, "the inner test to run")

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait(30)


def commands(folder):
    return " ".join(processes_with(MARK, folder).values())


def assert_nothing_is_left(folder):
    wait_until(lambda: not processes_with(MARK, folder), 30, f"an end of: {commands(folder)}")
    wait_until(lambda: not Path(folder).exists(), 30, "the run's folder to be removed")


def test_servers_commands_and_workers_end_with_pytest_though_it_is_killed(started):
    process, folder = started(*PYTEST, "-n1", f"{ENDLESS}runs_on_with_servers_and_a_command")
    worker = "exec(eval(sys.stdin.readline()))"  # as execnet starts it
    for part in ("kafka.Kafka", "valkey-server", "stream_router route", worker):
        assert part in commands(folder)
    process.kill()
    assert_nothing_is_left(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_told_to_end_does_so(started, number, workers):
    process, folder = started(*PYTEST, f"-n{workers}", f"{ENDLESS}leaves_a_process_and_runs_on")
    assert " ".join(LEFT) in commands(folder)
    process.send_signal(number)
    assert process.wait(60 * BUSY)
    assert_nothing_is_left(folder)


def test_a_run_ends_with_make_though_it_is_killed(started):
    shell = ("/bin/sh", "-c", '"$@"; true', "make")
    process, folder = started(*shell, *PYTEST, f"{ENDLESS}leaves_a_process_and_runs_on", MAKELEVEL="1")
    process.kill()
    assert_nothing_is_left(folder)


def test_a_forgotten_process_fails_the_run_and_is_named():
    ended = subprocess.run([*PYTEST, f"{ENDLESS}leaves_a_process"], check=False, capture_output=True, text=True)
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED
    assert "FAILED processes left behind - sleep 543" in ended.stdout
    assert "1 failed, 1 passed" in ended.stdout


@pytest.mark.parametrize(("code", "status"), [(0, pytest.ExitCode.OK), (3, pytest.ExitCode.TESTS_FAILED)])
def test_a_command_beside_the_tests_that_fails_fails_the_run(code, status):
    beside = f"--beside=sh -c 'echo said; exit {code}'"
    command = [*PYTEST, beside, f"{TESTS}/core/test_interval.py"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == status
    assert ("FAILED sh -c 'echo said; exit 3' - said" in ended.stdout) is (code > 0)
