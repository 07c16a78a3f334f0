"""Polling instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
BUSY = 3
"""What takes a test this many times as long as when it has the machine for itself is no failure."""


def wait_until(predicate: Callable[[], Value], seconds: float, what: str, poll: float = 0.05) -> Value:
    """The first true value of the predicate; AssertionError if it takes BUSY times the seconds."""
    seconds *= BUSY
    deadline = time.monotonic() + seconds
    while True:
        if value := predicate():
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(poll)
