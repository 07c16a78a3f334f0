"""A wire between a client and a Redis on a socket file, which can be cut, fall silent and lead elsewhere."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Literal
from urllib.parse import urlsplit

State = Literal["sound", "cut", "loading"]
_CHUNK = 65_536


class Wire:
    """Leads to the server of a `unix://` URL; `url` is its own end, on TCP."""

    def __init__(self, server: str) -> None:
        self._server, self._state, self._forbidden = server, "sound", b""
        self._lock, self._open = threading.Lock(), list[tuple[socket.socket, threading.Event]]()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def lead_to(self, server: str, state: State = "sound") -> None:
        """From now on, new connections; those that there are end."""
        with self._lock:
            self._server, self._state = server, state
            for end, _ in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def be(self, state: State) -> None:
        self.lead_to(self._server, state)

    def cut_at(self, command: bytes) -> None:
        """From now on, connections that ask for it end instead, as some proxies do; b"" allows all."""
        self._forbidden = command

    def fall_silent(self) -> None:
        """The connections that there are carry nothing any more, and nobody is told; new ones do."""
        with self._lock:
            for _, is_silent in self._open:
                is_silent.set()

    def close(self) -> None:
        self.be("cut")
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._join(self._listening.accept()[0])

    def _join(self, near: socket.socket) -> None:
        with self._lock:
            if self._state == "cut":
                near.close()
                return
            is_silent = threading.Event()
            self._open.append((near, is_silent))
            if self._state == "loading":
                self._run(_answer_loading, near)
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(urlsplit(self._server).path)
            self._open.append((far, is_silent))
        self._run(_carry, near, far, is_silent, lambda: self._forbidden)
        self._run(_carry, far, near, is_silent, lambda: b"")

    def _run(self, target, *arguments) -> None:
        threading.Thread(target=target, args=arguments, daemon=True).start()


def _carry(
    source: socket.socket, sink: socket.socket, is_silent: threading.Event, forbidden: Callable[[], bytes]
) -> None:
    with source, suppress(OSError):
        while chunk := source.recv(_CHUNK):
            if (command := forbidden()) and command in chunk:
                break
            if not is_silent.is_set():
                sink.sendall(chunk)
    if not is_silent.is_set():
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


def _answer_loading(near: socket.socket) -> None:
    with near, suppress(OSError):
        while near.recv(_CHUNK):
            near.sendall(b"-LOADING Redis is loading the dataset in memory\r\n")
