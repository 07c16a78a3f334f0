"""Polling instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(predicate: Callable[[], Value], seconds: float, what: str, poll: float = 0.05) -> Value:
    """The first true value of the predicate; AssertionError that says `what` did not come within the seconds."""
    deadline = time.monotonic() + seconds
    while True:
        if value := predicate():
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(poll)
