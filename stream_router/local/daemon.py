"""A process of its own session that outlives its starter and is found again.

The process holds an inherited lock (flock) on `<folder>/lock` from before its first instruction until it is gone,
however it goes. So "is it alive" never rests on a process id, which another process may have by now; the id in
`<folder>/pid` counts only while the lock is held.
"""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stream_router.errors import LocalStackError

_POLL = 0.02


@dataclass(frozen=True)
class Daemon:
    """A named process that keeps its lock, process id and log in `folder`."""

    name: str
    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def spawn(self, command: Sequence[str | Path]) -> None:
        """Start the process. Raises LocalStackError if it runs already."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock, self.log.open("ab") as log:
            if not _locked(lock.fileno(), seconds=1):
                raise LocalStackError(f"{self.name} runs already, as process {self.pid()}")
            # The child writes its id itself, so that no kill of the starter leaves a process without one.
            subprocess.Popen(
                ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', self.folder / "pid", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )

    def pid(self) -> int | None:
        """Process id of the running process; None if none runs."""
        try:
            with (self.folder / "lock").open() as lock:
                if _locked(lock.fileno()):
                    return None
            return int((self.folder / "pid").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def stop(self, patience: float) -> bool:
        """End the process: SIGTERM, after `patience` seconds SIGKILL. False if none ran. Raises LocalStackError."""
        if not self.runs():
            return False
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + patience
            if (pid := self.pid()) is not None:
                _kill(pid, number)
            while time.monotonic() < deadline:
                if not self.runs():
                    (self.folder / "pid").unlink(missing_ok=True)
                    return True
                _reap()
                time.sleep(_POLL)
        raise LocalStackError(f"{self.name} (process {self.pid()}) does not end; its log is {self.log}")

    def runs(self) -> bool:
        try:
            with (self.folder / "lock").open() as lock:
                return not _locked(lock.fileno())
        except FileNotFoundError:
            return False

    def last_lines(self, lines: int = 5) -> str:
        """The end of the log, for a message."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""


def _locked(descriptor: int, seconds: float = 0) -> bool:
    """Take the lock if nobody has it; it goes with the descriptor and its copies in child processes."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL)
        else:
            return True


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
