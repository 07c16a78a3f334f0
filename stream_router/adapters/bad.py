"""The user's own `bad(prediction, truth)`: whether a prediction is bad, given the truth."""

import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import structlog

from stream_router.adapters.metrics import NOT_JUDGED
from stream_router.adapters.model import imported
from stream_router.core.joining.agreement import Bad
from stream_router.core.scoring.prediction import Value
from stream_router.errors import ModelError

_SAID_EVERY: Final = 60.0
"""Seconds between log lines about failures."""

_log = structlog.get_logger()


def load_bad(path: str, clock: Callable[[], float] = time.monotonic) -> Bad:
    """Import the function `module:callable`, also from the current directory. Raises ModelError.

    What it raises, and what it returns that is no boolean, makes the prediction bad: a verdict must not wait for a
    mended function, nor a canary be called healthy by one that fails. `clock`: seconds, for the log.
    """
    bad = imported(path, "route.bad", "my_models:bad")
    if not callable(bad):
        raise ModelError(f"route.bad {path!r} is {type(bad).__name__}, not a callable: give bad(prediction, truth)")
    return _Guarded(path, bad, clock)


class _Guarded:
    """Raises nothing, and says once a minute what failed."""

    def __init__(self, path: str, bad: Callable[[Value, Value], Any], clock: Callable[[], float]) -> None:
        self._path, self._bad, self._clock = path, bad, clock
        self._failures, self._first, self._said_at = 0, "", float("-inf")

    def __call__(self, prediction: Value, truth: Value) -> bool:
        try:
            found = self._bad(prediction, truth)
        except Exception as error:  # noqa: BLE001 - the function is the user's code
            self._on_failure("raised", f"raised {type(error).__name__}: {error}", prediction, truth)
            return True
        if isinstance(found, bool | np.bool_):
            return bool(found)
        self._on_failure("no_boolean", f"returned {type(found).__name__}, not a boolean", prediction, truth)
        return True

    def _on_failure(self, reason: str, what: str, prediction: Value, truth: Value) -> None:
        NOT_JUDGED.labels(reason).inc()
        self._failures += 1
        self._first = self._first or f"bad({prediction!r:.100}, {truth!r:.100}) {what}"
        now = self._clock()
        if now - self._said_at >= _SAID_EVERY:
            _log.error(
                "predictions that could not be judged count as bad",
                function=self._path,
                predictions=self._failures,
                first=self._first,
            )
            self._failures, self._first, self._said_at = 0, "", now
