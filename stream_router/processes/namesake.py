"""A second scoring job of one name is refused before it can shut the first one out."""

import time
from collections.abc import Callable
from typing import Final

from stream_router.adapters.clock import now_ms
from stream_router.core.scoring.job import JobStore
from stream_router.errors import FencedError
from stream_router.processes.job_reporter import TELL_EVERY

_WATCH: Final = TELL_EVERY + 1.0
"""Seconds in which one that lives tells of itself again; one that was killed a moment ago does not."""

_LOOK_EVERY: Final = 0.25
"""Seconds."""


def refuse_namesake(
    jobs: JobStore,
    name: str,
    stop: Callable[[], bool],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Waits only where a job of this name told of itself a moment ago. Raises FencedError, UnreachableError."""
    before = jobs.jobs().get(name)
    if before is None or not before.is_live(now_ms()):
        return
    end = clock() + _WATCH
    while clock() < end and not stop():
        sleep(_LOOK_EVERY)
        now = jobs.jobs().get(name)
        if now is None:
            return
        if now.seen != before.seen:
            raise FencedError(
                f"a live scoring job of lane {before.lane} is instance {before.instance!r} already: give this one an "
                "--instance of its own, or stop the other one first"
            )
