"""Polling instead of sleeping."""

import os
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
BUSY = 3 if "PYTEST_XDIST_WORKER" in os.environ else 1
"""Times as long as with the machine for itself that something may take: more only where tests run side by side."""


def wait_until(predicate: Callable[[], Value], seconds: float, what: str, poll: float = 0.05) -> Value:
    """The first true value of the predicate; AssertionError if it takes BUSY times the seconds."""
    seconds *= BUSY
    deadline = time.monotonic() + seconds
    while True:
        if value := predicate():
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(poll)
