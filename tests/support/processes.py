"""The commands as processes of their own, as operators run them."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from support.waiting import BUSY


class Command:
    """A running `stream-router` command; its stdout and stderr go to files."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, number: int, environment: Mapping[str, str]) -> None:
        self.arguments = arguments
        self.stdout_file = folder / f"{number:02}-{arguments[0]}.out"
        self.stderr_file = folder / f"{number:02}-{arguments[0]}.log"
        with self.stdout_file.open("wb") as stdout, self.stderr_file.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stream_router", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=dict(environment),
                start_new_session=True,
            )

    @property
    def stdout(self) -> str:
        return self.stdout_file.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self.stderr_file.read_text(errors="replace")

    def running(self) -> bool:
        return self.process.poll() is None

    def wait(self, seconds: float = 60) -> int:
        """The exit code; AssertionError if it takes BUSY times the seconds."""
        seconds *= BUSY
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.arguments} still runs after {seconds} s:\n{self.stderr[-2000:]}") from None

    def kill(self) -> None:
        """SIGKILL to the command and all that it started in its session."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def terminate(self, seconds: float = 30) -> int:
        self.process.terminate()
        return self.wait(seconds)

    def interrupt(self, seconds: float = 30) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.wait(seconds)


class Processes:
    """Starts commands and ends those that still run.

    `environment` is added to a clean environment: no STREAM_ROUTER_ variable of the caller's gets through.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._commands: list[Command] = []
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STREAM_ROUTER_")}
        self._environment = kept | dict(environment)

    def start(self, *arguments: str, **environment: str) -> Command:
        """Start `stream-router ARGUMENTS`; keywords are further environment variables."""
        command = Command(arguments, self.folder, len(self._commands), self._environment | environment)
        self._commands.append(command)
        return command

    def run(self, *arguments: str, seconds: float = 60, **environment: str) -> Command:
        """Start and wait for the end."""
        command = self.start(*arguments, **environment)
        command.wait(seconds)
        return command

    @property
    def started(self) -> list[Command]:
        return list(self._commands)

    def terminate_all(self, seconds: float) -> dict[tuple[str, ...], int]:
        """SIGTERM to all that still run, one after the other; each one's exit code by its arguments."""
        return {c.arguments: c.terminate(seconds) if c.running() else c.process.returncode for c in self._commands}

    def end(self) -> None:
        for command in self._commands:
            if command.running():
                command.kill()
        assert not [command.arguments for command in self._commands if command.running()]
