"""A model that costs nothing, so that what a scoring job costs is left."""

from collections.abc import Callable, Sequence
from typing import Any


def load(_version: str) -> Callable[[Sequence[Any]], list[float]]:
    return lambda rows: [0.5] * len(rows)
