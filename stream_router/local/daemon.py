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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stream_router.errors import LocalStackError

PRIVATE: Final = 0o700
"""Mode of folders with data, which nobody else may read."""

_POLL: Final = 0.02
_WRITE_ID_AND_RUN: Final = 'echo $$ > "$0" && exec "$@"'
_IN_BACKGROUND: Final = 'pid=$0; script=$1; shift; /bin/sh -c "$script" "$pid" "$@" &'


@dataclass(frozen=True)
class Daemon:
    """A named process that keeps its lock, process id and log in `folder`."""

    name: str
    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def spawn(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        """Start the process, in `folder`; by default in our environment. Raises LocalStackError if it runs already."""
        private_folder(self.folder)
        with (self.folder / "lock").open("w") as lock, self.log.open("ab") as log:
            if not _take(lock.fileno(), fcntl.LOCK_EX, seconds=1):
                raise LocalStackError(f"{self.name} runs already, as process {self.pid()}")
            (self.folder / "pid").unlink(missing_ok=True)
            # The process writes its id itself, so that no kill of the starter leaves one without; the shell in
            # between ends at once, so that the starter has no child to reap.
            subprocess.run(
                ["/bin/sh", "-c", _IN_BACKGROUND, self.folder / "pid", _WRITE_ID_AND_RUN, *command],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=environment,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )

    def runs(self) -> bool:
        try:
            with (self.folder / "lock").open() as lock:
                return not _take(lock.fileno(), fcntl.LOCK_SH)
        except FileNotFoundError:
            return False

    def pid(self) -> int | None:
        """Process id of the running process; None if none runs."""
        try:
            return int((self.folder / "pid").read_text()) if self.runs() else None
        except (FileNotFoundError, ValueError):
            return None

    def stop(self, patience: float) -> bool:
        """End the process: SIGTERM, after `patience` seconds SIGKILL. False if none ran. Raises LocalStackError."""
        if not self.runs():
            return False
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + patience
            sent = False
            while time.monotonic() < deadline:
                if not sent and (pid := self.pid()) is not None:
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)
                    sent = True
                if not self.runs():
                    (self.folder / "pid").unlink(missing_ok=True)
                    return True
                time.sleep(_POLL)
        raise LocalStackError(f"{self.name} (process {self.pid()}) does not end; its log is {self.log}")

    def last_lines(self, lines: int = 5) -> str:
        """The end of the log, for a message."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""


def private_folder(folder: Path) -> None:
    """Make the folder, or close one that is open to others."""
    folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    folder.chmod(PRIVATE)


def _take(descriptor: int, kind: int, seconds: float = 0) -> bool:
    """Take the lock if it is free; it goes with the descriptor and its copies in child processes."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL)
        else:
            return True
