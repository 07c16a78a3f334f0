"""The processes of the demo: each a command of its own, as in production, with its log."""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from stream_router.demo.interrupts import Interrupts
from stream_router.errors import StreamRouterError

_STOP_TIMEOUT: Final = 15.0
"""Seconds from SIGTERM to SIGKILL."""

_TAIL: Final = 12


class Child(NamedTuple):
    name: str
    process: "subprocess.Popen[bytes]"
    log: Path


class Children:
    """Started with `environment` in folder `cwd`; logs are in `folder`."""

    def __init__(self, folder: Path, cwd: Path, environment: Mapping[str, str], interrupts: Interrupts) -> None:
        self._folder, self._cwd, self._environment, self._interrupts = folder, cwd, environment, interrupts
        self._children: list[Child] = []

    @property
    def names(self) -> str:
        return ", ".join(child.name for child in self._children)

    def start(self, name: str, *arguments: str) -> Child:
        """Run `stream-router ARGUMENTS`."""
        log = self._folder / f"{name}.log"
        with log.open("wb") as output, self._interrupts.held():
            process = subprocess.Popen(
                [sys.executable, "-m", "stream_router", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(self._environment),
                cwd=self._cwd,
            )
            child = Child(name, process, log)
            self._children.append(child)
        return child

    def check(self) -> None:
        """Raises StreamRouterError if a process has ended, which none does by itself."""
        for child in self._children:
            code = child.process.poll()
            if code is not None:
                raise StreamRouterError(
                    f"{child.name} ended with exit code {code}; its log {child.log} ends:\n{last_lines(child.log)}"
                )

    def stop(self) -> None:
        """End all at once; those that do not listen, by force."""
        for child in self._children:
            child.process.terminate()
        deadline = time.monotonic() + _STOP_TIMEOUT
        for child in self._children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()


def last_lines(log: Path, lines: int = _TAIL) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"(not readable: {error.strerror})"
