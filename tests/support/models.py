"""Models for tests, loaded by the scoring jobs as support.models:load."""

import random
import time
from collections.abc import Callable
from typing import Any

Rows = list[dict[str, Any]]


def load(version: str) -> Callable[[Rows], list[Any]]:
    """even: whether x is even. poor: the same, but raises on x ending in 7. short: an output too few. slow: takes time.
    raising: raises.

    A number, such as 0.9: whether x is even, right for that share of the rows.
    """

    def predict(rows: Rows) -> list[Any]:
        if version == "raising":
            raise ValueError("cannot digest anything")
        if version == "poor" and any(row["x"] % 10 == 7 for row in rows):
            raise ValueError("cannot digest a 7")
        time.sleep(0.1 if version == "slow" else 0)
        accuracy = float(version) if version[0].isdigit() else 1.0
        outputs = [(row["x"] % 2 == 0) == (random.Random(row["x"]).random() < accuracy) for row in rows]
        return outputs[:-1] if version == "short" else outputs

    predict.digest = f"digest of {version}"  # type: ignore[attr-defined]  # a function can carry it
    return predict
