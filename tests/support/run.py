"""A run of the tests: its folder, the mark that all its processes inherit, and the guard that ends them.

The guard outlives pytest, however pytest ends: it waits for the end of a pipe whose other end only pytest holds, then
kills what has the mark and removes the folder. It has a session of its own, which no Ctrl-C reaches, and no mark.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from support.leftovers import kill_processes_with, processes_with

MARK: Final = "TESTS_OF_STREAM_ROUTER"
"""The variable that marks workers of xdist, commands and daemons alike; its value is the folder of the run."""


class Run:
    """One run of pytest; workers of xdist take part in that of their controller."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="stream-router-tests-"))
        self._around = os.environ.pop(MARK, None)
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "support.run", self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
            start_new_session=True,
        )
        os.environ[MARK] = str(self.folder)
        # Brokers that live for seconds: compiling less and collecting in one thread halves what their start costs.
        os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")

    @property
    def stack(self) -> Path:
        return self.folder / "stack"

    def processes(self) -> list[str]:
        """Command lines of what the run has started and what still runs."""
        return list(processes_with(MARK, str(self.folder)).values())

    def end(self) -> None:
        self._guard.communicate()
        del os.environ[MARK]
        if self._around is not None:
            os.environ[MARK] = self._around


def run_folder() -> Path:
    """The folder of the run that this process takes part in, as its controller or a worker."""
    return Path(os.environ[MARK])


def _guard(folder: str) -> None:
    sys.stdin.buffer.read()
    kill_processes_with(MARK, folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _guard(sys.argv[1])
