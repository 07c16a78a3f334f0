"""Carries out what the leader of a rollout decides: records for the log, and calls of the script."""

import time
from typing import Final, NamedTuple

import structlog

from stream_router.core.rollout.controller import Controller
from stream_router.core.rollout.leader import Leader, Seen
from stream_router.core.rollout.log_records import LogRecord, Refusal, Transition
from stream_router.core.rollout.machine import Call
from stream_router.core.rollout.machine_inputs import ScoringJob
from stream_router.core.rollout.situation import Hold
from stream_router.core.rollout.status import StatusStore
from stream_router.core.routing.applied_split import INITIAL_SPLIT, AppliedSplit
from stream_router.core.routing.proposal import Step
from stream_router.core.routing.router_status import RouterStore
from stream_router.core.routing.split_store import ReadAgain, StepRefused, call_until_read
from stream_router.core.scoring.job import JobStore
from stream_router.errors import UnreachableError

_EVERY: Final = 0.5
"""Seconds between two looks at what is next, unless the log has grown."""

_log = structlog.get_logger()


class Stores(NamedTuple):
    """What Redis holds of a route."""

    splits: StatusStore
    jobs: JobStore
    routers: RouterStore

    def close(self) -> None:
        for store in self:
            store.close()


class Leading:
    """Of one term; `who` is named in `:applied`."""

    def __init__(self, leader: Leader, stores: Stores, who: str) -> None:
        self.leader = leader
        self._stores, self._who = stores, f"controller {who}"
        self._looked_at = float("-inf")
        self._refused: str | None = None

    def on_split(self, applied: AppliedSplit) -> None:
        """A record of R.splits."""
        self.leader.on_split(applied)
        self._looked_at = float("-inf")

    def on_record(self, offset: int, record: LogRecord) -> None:
        """A record of R.rollout-events."""
        self.leader.on_record(offset, record)
        self._looked_at = float("-inf")

    def due_record(self, controller: Controller, holds: tuple[Hold, ...], now: int) -> Transition | Refusal | None:
        """What is to be written to R.rollout-events; `now` in milliseconds since the epoch.

        Where something is asked of the script, that is done here: what comes of it R.splits and `:applied` show.
        """
        if time.monotonic() - self._looked_at < _EVERY:
            return None
        self._looked_at = time.monotonic()
        decision = self.leader.next(controller, holds, self._seen(), now)
        if isinstance(decision, Call):
            self._call(controller, decision.step, now)
            return None
        return None if decision is None else decision.record

    def on_written(self, record: Transition | Refusal) -> None:
        """It is committed."""
        self.leader.on_written()
        if isinstance(record, Transition):
            _log.warning("rollout", rollout=record.rollout, phase=record.after, step=record.step, why=record.reason)
        else:
            _log.warning("command refused", why=record.reason)

    def _seen(self) -> Seen:
        if not self.leader.needs_redis:
            return Seen()
        try:
            jobs = tuple(map(ScoringJob.of, self._stores.jobs.jobs().values()))
            routers = self._stores.routers.routers()
            return Seen(
                applied=self._stores.splits.applied() or INITIAL_SPLIT,
                jobs=jobs,
                routers=routers,
                refused=self._refused,
            )
        except UnreachableError as error:
            _log.debug("the rollout goes on once Redis answers", error=str(error))
            return Seen()

    def _call(self, controller: Controller, step: Step, now: int) -> None:
        view = controller.view
        try:
            reply = self._stores.splits.call(view, self._stores.splits.look(), now=now, who=self._who, step=step)
            if isinstance(reply, StepRefused):
                self._refused = reply.why
                # A pending edit stands in the way, which only a call without a step judges.
                call_until_read(self._stores.splits, view, now=now, who=self._who)
        except UnreachableError as error:
            _log.warning("the rollout's next step is in Kafka, Redis does not take it yet", error=str(error))
            return
        if isinstance(reply, AppliedSplit):
            self._refused = None
            _log.info("step taken", epoch=reply.epoch, rollout=reply.rollout, canary=reply.canary)
        if isinstance(reply, AppliedSplit | ReadAgain):
            self._looked_at = float("-inf")
