"""Moments as people read them."""

import numpy as np


def utc(ms: int) -> str:
    """To the second, such as "2026-11-30 09:07:05 UTC"; of milliseconds since the epoch."""
    return f"{np.datetime64(ms // 1000, 's')} UTC".replace("T", " ", 1)
