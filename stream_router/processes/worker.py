"""A thread that takes turns, keeps what it ended with, and can be asked whether it hangs."""

import threading
import time
from collections.abc import Callable
from typing import Final

HUNG: Final = 60.0
"""Seconds without a sign of life after which a turn hangs: above all that the clients' own timeouts add up to."""


class Worker:
    """Takes a turn whenever `wait` returns True, until it returns False or a turn raises: that is then `failure`."""

    def __init__(self, name: str, wait: Callable[[], bool], turn: Callable[[], None]) -> None:
        self._wait, self._turn = wait, turn
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._alive_at: float | None = None
        self.failure: Exception | None = None

    def start(self) -> None:
        self._thread.start()

    def beat(self) -> None:
        """A sign of life in the middle of a long turn."""
        self._alive_at = time.monotonic()

    @property
    def hangs(self) -> bool:
        """Whether a turn goes on that has shown no sign of life for HUNG seconds."""
        alive_at = self._alive_at
        return alive_at is not None and time.monotonic() - alive_at >= HUNG

    def ended(self, within: float) -> bool:
        """Whether the thread has ended, or never began; waits so many seconds for it."""
        if self._thread.ident is not None:
            self._thread.join(within)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while self._wait():
                self.beat()
                self._turn()
                self._alive_at = None
        except Exception as error:  # noqa: BLE001 - raised by who looks after the thread
            self.failure = error
        finally:
            self._alive_at = None
