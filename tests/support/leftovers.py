"""Processes by an environment variable that they inherited: however they were started, and whoever their parent is."""

from pathlib import Path


def processes_with(name: str, value: str) -> dict[int, str]:
    """Process id to command line of every process of ours whose environment has `name` = `value`."""
    wanted, found = f"{name}={value}".encode(), {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # gone in the meantime, or somebody else's
            continue
        if wanted in environment:
            found[int(folder.name)] = command.strip()
    return found
