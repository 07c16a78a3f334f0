"""The ports of a data folder: those that are asked for, else those of the last time, else any free ones."""

import json
import socket
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from stream_router.errors import LocalStackError

PortName = Literal["kafka", "controller", "redis"]
Ports = dict[PortName, int]


def last_ports(data: Path) -> Ports:
    """Those in use or last used; empty where the servers have never run."""
    try:
        ports: Ports = json.loads((data / "ports.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return ports


def choose_ports(data: Path, names: Collection[PortName], given: Mapping[PortName, int], *, fresh: bool) -> Ports:
    """All ports of the folder, those of `names` chosen anew and noted for the next time; `fresh`: not the last ones.

    Raises LocalStackError for a given one that is taken.
    """
    last = last_ports(data)
    ports: Ports = {name: port for name, port in last.items() if name not in names}
    for name in names:
        if (port := given.get(name)) is not None:
            if not _is_free(port):
                raise LocalStackError(f"port {port} for {name} is taken: name a free one, or leave it out for any")
            ports[name] = port
    for name in names:
        if name not in ports:
            ports[name] = _free_port(None if fresh else last.get(name), set(ports.values()))
    (data / "ports.json").write_text(json.dumps(ports))
    return ports


def _free_port(wanted: int | None, taken: Collection[int]) -> int:
    if wanted is not None and wanted not in taken and _is_free(wanted):
        return wanted
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in taken:
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
