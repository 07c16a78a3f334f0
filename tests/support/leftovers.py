"""Processes by an environment variable that they inherited: however they were started, and whoever their parent is.

Environments are read in /proc; where there is none, no process is found.
"""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_MOMENT: Final = 0.5


def processes_with(name: str, value: str) -> dict[int, str]:
    """Process id to command line of every process of ours whose environment has `name` = `value`."""
    wanted, found = f"{name}={value}".encode(), {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # gone in the meantime, or somebody else's
            continue
        if wanted in environment:
            found[int(folder.name)] = command.strip()
    return found


def kill_processes_with(name: str, value: str, seconds: float = 30) -> None:
    """SIGKILL until none has been found for a moment: a process that was just started shows no environment yet."""
    now = calm_since = time.monotonic()
    deadline = now + seconds
    while (now := time.monotonic()) < min(deadline, calm_since + _MOMENT):
        for pid in processes_with(name, value):
            calm_since = now
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
