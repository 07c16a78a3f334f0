"""Whether a process is alive and ready, as it says so itself: a main loop that turns, and conditions with a name."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

ASSIGNMENT: Final = "assignment"
"""The condition of every member of a group: it has been given its partitions, perhaps none."""

KAFKA: Final = "kafka"
"""The condition of a process whose clients' questions are answered."""

STILL: Final = 150.0
"""Seconds without a turn after which the main loop stands still: more than a slow model takes for a batch. An outage of
Kafka never lasts so long in one turn: it is no reason to start the process again."""


class Health:
    """Thread-safe. `loop` names the main loop; each of the conditions is to be met before the process is ready.

    Times are those of `clock`, in seconds.
    """

    def __init__(self, loop: str, conditions: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self._loop, self._clock = loop, clock
        self._lock = threading.Lock()
        self._unmet: dict[str, str | None] = dict(conditions)
        self._turned_at = clock()

    def not_ready(self, name: str, why: str) -> None:
        """The condition is not met."""
        with self._lock:
            self._unmet[name] = why

    def ready(self, name: str) -> None:
        """The condition is met."""
        with self._lock:
            self._unmet[name] = None

    def kafka(self, away: str | None) -> None:
        """Why Kafka does not answer; None where it does."""
        if away is None:
            self.ready(KAFKA)
        else:
            self.not_ready(KAFKA, away)

    def beat(self) -> None:
        """The main loop has turned."""
        self._turned_at = self._clock()

    def unmet(self) -> dict[str, str | None]:
        """Each condition, and why it is not met; None where it is."""
        with self._lock:
            return dict(self._unmet)

    def stands(self) -> str | None:
        """What stands still and for how long; None while the main loop turns."""
        seconds = self._clock() - self._turned_at
        return None if seconds <= STILL else f"{self._loop} has not turned for {seconds:.0f} s"
