"""A thread that tells Redis of its scoring job, and the job of its lane's version; scoring never waits for it."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import structlog

from stream_router.adapters.clock import now_ms
from stream_router.adapters.metrics import OTHER_VERSION
from stream_router.core.routing.split_store import SplitStore
from stream_router.core.scoring.job import JobStatus, JobStore
from stream_router.errors import ModelError, UnreachableError

TELL_EVERY: Final = 2.0
"""Seconds."""

_WARN_EVERY: Final = 60_000
"""Milliseconds between log lines about the lane's other version."""

_END_WITHIN: Final = 1.0
"""Seconds for the last word."""

_log = structlog.get_logger()


class JobReporter:
    """`lane_version` is the version of the lane in `:models` as it was read last, None where none is known.

    `must_register`: the job's version is still to be written where the lane has none.
    """

    def __init__(
        self, jobs: JobStore, splits: SplitStore, status: JobStatus, *, clock: Callable[[], int] = now_ms
    ) -> None:
        self._jobs, self._splits, self._status, self._clock = jobs, splits, status, clock
        self.lane_version: str | None = None
        self.must_register = False
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._warned_at: int | None = None
        self._is_away = self._has_ended = False
        self._thread = threading.Thread(target=self._run, name="job reporter", daemon=True)

    @property
    def status(self) -> JobStatus:
        with self._lock:
            return self._status

    def tell(self, **changes: Any) -> None:
        """Fields of JobStatus that have changed; Redis hears of them soon."""
        with self._lock:
            changed = replace(self._status, **changes)
            if (changed.state, changed.version) != (self._status.state, self._status.version):
                changed = replace(changed, since=self._clock())
            self._status = changed
        self._wake.set()

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, leave: bool) -> None:
        """`leave`: the job has ended as it should, so that nobody need wait for its entry to grow old."""
        self._has_ended = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_END_WITHIN)
        if leave and not self._thread.is_alive() and not self._is_away:
            try:
                self._jobs.leave(self.status.name)
            except UnreachableError as error:
                _log.warning("Redis was not told that the job ends", error=str(error))

    def turn(self) -> None:
        """Tell and hear once; an outage of Redis is said once."""
        now = self._clock()
        try:
            self._hear()
            self._jobs.tell(replace(self.status, seen=now))
        except UnreachableError as error:
            if not self._is_away:
                _log.warning("Redis does not hear of this job, which scores on with its version", error=str(error))
            self._is_away = True
        else:
            self._is_away = False
        self._warn(now)

    def _hear(self) -> None:
        status = self.status
        version: str | None = getattr(self._splits.models(), status.lane)
        if version is None and self.must_register and status.wanted is not None:
            try:
                self._splits.register_model(status.lane, status.wanted)
            except ModelError as error:  # somebody else was faster: `_warn` says it
                _log.warning("the lane has another version", error=str(error))
            version = getattr(self._splits.models(), status.lane)
        if version is not None:
            self.must_register = False
            self.lane_version = version

    def _warn(self, now: int) -> None:
        """Predictions of another version than the lane's count for no rollout."""
        status, version = self.status, self.lane_version
        is_other = None not in (status.version, version) and status.version != version
        OTHER_VERSION.labels(status.lane).set(is_other)
        if not is_other:
            self._warned_at = None
        elif self._warned_at is None or now - self._warned_at >= _WARN_EVERY:
            self._warned_at = now
            _log.warning(
                "this job scores with another version than its lane has, so its predictions count for no rollout",
                lane=status.lane,
                version=status.version,
                lane_version=version,
                pinned=status.pinned,
                last_error=status.last_error,
            )

    def _run(self) -> None:
        while not self._has_ended:
            self.turn()
            self._wake.wait(TELL_EVERY)
            self._wake.clear()
