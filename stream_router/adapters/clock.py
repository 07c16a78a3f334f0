"""The wall clock, and one that nobody sets."""

import time


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def monotonic_ms() -> int:
    """Milliseconds since some moment."""
    return time.monotonic_ns() // 1_000_000
