"""The model that scores, and the one that follows it: loaded beside it, warmed up, put in its place between batches."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import structlog

from stream_router.adapters.kafka.handler import Unfinished
from stream_router.adapters.model_process import Answer
from stream_router.core.scoring.asking import Row
from stream_router.core.scoring.job import JobState, JobStore
from stream_router.errors import ModelError, UnreachableError
from stream_router.processes.job_reporter import JobReporter

_TURN: Final = 0.1
"""Seconds to wait for a model, after which it is looked whether to stop."""

_LOADS_WITHIN: Final = 600.0
"""Seconds."""

_LAST_ANSWER: Final = 2.0
"""Seconds for the model's last batch once the job is told to stop."""

_TRY_AGAIN: Final = 60.0
"""Seconds before a version that failed is loaded once more."""

_log = structlog.get_logger()


class Process(Protocol):
    """See ModelProcess."""

    version: str
    digest: str | None
    is_broken: bool

    def loaded(self, wait: float) -> bool: ...
    def ask(self, rows: Sequence[Row]) -> None: ...
    def answer(self, wait: float) -> Answer | None: ...
    def failed(self, why: str, seconds: float = 0.0) -> Answer: ...
    def kill(self) -> None: ...


class Served(NamedTuple):
    """An answer, and whose it is."""

    answer: Answer
    version: str
    digest: str | None


@dataclass
class _Next:
    """A version on its way; `deadline` in seconds of the clock, of its loading, then of its warming up."""

    process: Process
    deadline: float
    is_warming: bool = False


class _Failed(NamedTuple):
    version: str
    retry_at: float


class ServedModel:
    """Used in one thread. `timeout`: seconds for a batch; `stop`: whether the job is to end; `turned` is told while it
    waits for a model. Without a `pinned` version the lane's is followed, as the reporter hears of it.
    """

    def __init__(
        self,
        begin: Callable[[str], Process],
        jobs: JobStore,
        reporter: JobReporter,
        *,
        timeout: float,
        stop: Callable[[], bool],
        turned: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._begin, self._jobs, self._reporter = begin, jobs, reporter
        self._timeout, self._stop, self._turned, self._clock = timeout, stop, turned, clock
        self._scoring: Process | None = None
        self._serves = False
        self._next: _Next | None = None
        self._failed: _Failed | None = None
        self._rows: Sequence[Row] = ()
        self._had_answers = False

    def begin(self, version: str) -> None:
        """Begin to load the first version."""
        self._reporter.tell(state="loading", wanted=version)
        self._scoring = self._begin(version)

    def wait(self) -> None:
        """Until the version is loaded that is to score. Raises ModelError; Unfinished where the job is to stop."""
        if self._serves:
            return
        process, deadline = self._of_now(), self._clock() + _LOADS_WITHIN
        while not process.loaded(_TURN):
            self._turned()
            if self._stop():
                raise Unfinished
            if self._clock() >= deadline:
                raise ModelError(f"version {process.version!r} did not load within {_LOADS_WITHIN:g} s")
        self._check_digest(process)
        self._serves = True
        self._reporter.tell(state=self._state, version=process.version, digest=process.digest)

    def ask(self, rows: Sequence[Row]) -> Served:
        """Never longer than the timeout: then the model's process is ended, and the batch's outputs are errors.

        Raises ModelError where it then cannot be loaded again; Unfinished where the job is to stop.
        """
        self.wait()
        process = self._of_now()
        if not rows:
            return Served(Answer([], 0.0), process.version, process.digest)
        process.ask(rows)
        answer = self._answer(process)
        served = Served(answer, process.version, process.digest)
        self._rows, self._had_answers = rows, any(output.error is None for output in answer.outputs)
        if process.is_broken:
            _log.error("the model is started again", version=process.version, error=answer.outputs[0].error)
            process.kill()
            self._scoring, self._serves = self._begin(process.version), False
            self._reporter.tell(state="loading")
        return served

    def turn(self) -> None:
        """What is due between two batches; never waits for a model."""
        wanted = self._reporter.lane_version
        if self._reporter.status.pinned or wanted is None or self._scoring is None:
            return
        if wanted == self._scoring.version:
            if self._next or self._failed:
                self._drop_next()
                self._failed = None
                self._reporter.tell(state=self._state, wanted=wanted)
        elif self._next is None or self._next.process.version != wanted:
            self._drop_next()
            if self._failed is not None and self._failed.version != wanted:
                self._failed = None
            if self._failed is None or self._clock() >= self._failed.retry_at:
                _log.info("the lane's version is loaded", version=wanted, scoring=self._scoring.version)
                self._next = _Next(self._begin(wanted), self._clock() + _LOADS_WITHIN)
                self._reporter.tell(state=self._state, wanted=wanted)
        else:
            self._go_on(self._next)

    @property
    def _state(self) -> JobState:
        if not self._serves:
            return "loading"
        return "failed" if self._failed else "scoring"

    def close(self) -> None:
        """End the models' processes."""
        self._drop_next()
        if self._scoring is not None:
            self._scoring.kill()

    def _answer(self, process: Process) -> Answer:
        begun, stopped = self._clock(), None
        while (answer := process.answer(_TURN)) is None:
            now = self._clock()
            if self._stop():
                stopped = now if stopped is None else stopped
                if now - stopped >= _LAST_ANSWER:
                    raise Unfinished
            if now - begun >= self._timeout:
                return process.failed(f"timed out after {self._timeout:g} s", now - begun)
        return answer

    def _go_on(self, following: _Next) -> None:
        try:
            is_ready = self._is_ready(following)
        except ModelError as error:
            version = following.process.version
            self._drop_next()
            self._failed = _Failed(version, self._clock() + _TRY_AGAIN)
            self._reporter.tell(state=self._state, wanted=version, last_error=str(error))
            _log.error("the lane's version gets no requests", version=version, error=str(error))
            return
        if is_ready:
            self._swap(following.process)

    def _is_ready(self, following: _Next) -> bool:
        """Raises ModelError where it does not load or warm up."""
        process = following.process
        if not following.is_warming:
            if not process.loaded(0):
                return self._still(following, f"did not load within {_LOADS_WITHIN:g} s")
            self._check_digest(process)
            if not self._rows:
                return True
            process.ask(self._rows)
            following.is_warming, following.deadline = True, self._clock() + self._timeout
        answer = process.answer(0)
        if answer is None:
            return self._still(following, f"timed out after {self._timeout:g} s on the last batch")
        if process.is_broken or (self._had_answers and all(output.error is not None for output in answer.outputs)):
            raise ModelError(
                f"version {process.version!r} answers none of the last batch's {len(answer.outputs)} requests: "
                f"{answer.outputs[0].error}"
            )
        return True

    def _still(self, following: _Next, late: str) -> bool:
        if self._clock() >= following.deadline:
            raise ModelError(f"version {following.process.version!r} {late}")
        return False

    def _swap(self, process: Process) -> None:
        former, self._scoring, self._serves = self._of_now(), process, True
        self._next = self._failed = None
        former.kill()
        self._reporter.tell(
            state="scoring", version=process.version, digest=process.digest, wanted=process.version, last_error=None
        )
        _log.info("another version scores", version=process.version, digest=process.digest, before=former.version)

    def _drop_next(self) -> None:
        if self._next is not None:
            self._next.process.kill()
            self._next = None

    def _check_digest(self, process: Process) -> None:
        """Raises ModelError where the version had another digest before."""
        if process.digest is None:
            return
        try:
            recorded = self._jobs.record_digest(process.version, process.digest)
        except UnreachableError as error:
            _log.warning("whether the version's model has changed cannot be told", error=str(error))
            return
        if recorded != process.digest:
            raise ModelError(
                f"model version {process.version!r} has digest {process.digest}, and had {recorded} when it was first "
                "loaded: give a changed model a version of its own. If the change is meant, forget the first one with: "
                f"HDEL {self._jobs.digests_key} {process.version}"
            )

    def _of_now(self) -> Process:
        assert self._scoring is not None  # noqa: S101 - for the type: `begin` comes first
        return self._scoring
