"""How an owner takes an input partition over: shuts out its predecessor, learns where to go on, and with which rows."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Final, TypedDict

import structlog
from faust.types import TP

from stream_router.adapters.clock import now_ms
from stream_router.adapters.kafka.evidence_log import ResumePoint
from stream_router.core.evidence import Positions
from stream_router.core.joining.agreement import Bad
from stream_router.core.joining.join import Join
from stream_router.core.joining.maturity import watermark_past
from stream_router.core.policy import CLOCK_SKEW_MS
from stream_router.processes.background import in_thread
from stream_router.processes.flusher import Flusher
from stream_router.processes.shared import Shared
from stream_router.processes.tenure import Tenure

_ASK_AGAIN: Final = 0.05
"""Seconds between questions to the group."""

_log = structlog.get_logger()


class _Options(TypedDict):
    """Of a join."""

    told_until: int
    early_limit: int
    bad: Bad | None


class Takeover:
    """Of one partition of the `inputs`. Its methods belong into the loop of the app."""

    def __init__(
        self, shared: Shared, partition: int, inputs: set[TP], flusher: Flusher, *, is_dropped: Callable[[], bool]
    ) -> None:
        self._shared, self._partition, self._inputs = shared, partition, inputs
        self._flusher, self._is_dropped = flusher, is_dropped

    async def run(self) -> Tenure | None:
        """None where the partition was dropped meanwhile. Raises KafkaException, UnreachableError."""
        shared, begun = self._shared, time.monotonic()
        while True:
            await asyncio.sleep(_ASK_AGAIN)
            if self._is_dropped():
                return None
            if await self._confirmed():  # before we shut anyone out
                await self._flusher.begin()
                if await self._confirmed():  # and after
                    break
        resume = await self._checked(await in_thread(shared.log.resume_point, self._partition))
        join, begin = await self._rows(resume)
        if self._is_dropped():
            return None
        _log.info(
            "partition taken",
            partition=self._partition,
            seconds=round(time.monotonic() - begun, 3),
            positions=resume.positions._asdict(),
            reads_from=begin._asdict(),
            predictions_from_disk=join.rows,
        )
        return Tenure(shared.policy, resume, join, begin=begin, since=now_ms(), now=time.monotonic())

    async def _confirmed(self) -> bool:
        return await self._shared.app.is_ours(self._inputs) and not self._is_dropped()

    async def _checked(self, resume: ResumePoint) -> ResumePoint:
        """It, once a flush of the positions alone has told the broker's time, which no chunk is judged without.

        A predecessor's watermark that is far ahead of it is dropped. By that one it has told of all that it had read,
        and which of it is not known: so nothing is told of windows in which any of it may lie.
        """
        await self._flusher.flush_positions(resume)
        if self._shared.clock.admits(resume.watermark, inherited=True):
            return resume
        newest = self._shared.intake.now + 2 * CLOCK_SKEW_MS  # routings may be ahead of records, and these of brokers
        told = min(resume.watermark, watermark_past(self._shared.policy, newest))
        return resume._replace(watermark=0, told_until=max(resume.told_until, told))

    async def _rows(self, resume: ResumePoint) -> tuple[Join, Positions]:
        """The rows to begin with, and where to read on from: those on disk, or none."""
        shared, history = self._shared, self._shared.splits.history
        options = _Options(
            told_until=max(resume.watermark, resume.told_until), early_limit=shared.early_limit, bad=shared.bad
        )
        found = await shared.disk.found(self._partition, resume) if shared.disk is not None else None
        if found is not None:
            await shared.splits.read_once()  # those of the rows are not named by what is read from here on
            try:
                restore = partial(Join.restored, **options)
                join = await in_thread(restore, shared.policy, resume.positions, history, found.arrays)
            except (ValueError, KeyError) as error:
                _log.info("rows on disk are passed over", partition=self._partition, reason=str(error))
            else:
                return join, found.about.positions
        return Join(shared.policy, resume.positions, history, **options), resume.rebuild_from
