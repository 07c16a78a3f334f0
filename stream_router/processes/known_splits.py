"""The splits of R.splits, read as far as the predictions to be joined need them, once for all owners of a process."""

import asyncio
import time
from typing import Final

import numpy as np
import structlog

from stream_router.adapters.clock import now_ms
from stream_router.adapters.detached import detached
from stream_router.adapters.kafka.control_topics import SplitsTopic
from stream_router.core.joining.columns import Predictions
from stream_router.core.joining.split_history import SplitHistory
from stream_router.core.policy import CLOCK_SKEW_MS
from stream_router.core.route import Route
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.errors import UnreachableError
from stream_router.processes.background import in_thread
from stream_router.settings import Settings

_APART: Final = 0.1
"""Seconds between readings, so that what comes meanwhile is served by one."""

_AFTER_OUTAGE: Final = 0.5
"""Seconds before Kafka is asked again."""

_MOST_ABSENT: Final = 10_000
"""Splits that R.splits does not hold and that are remembered, so that it is not read again for each prediction."""

_log = structlog.get_logger()


class KnownSplits:
    """`history` holds every split that a prediction named whose `cover` has returned, as far as R.splits holds it."""

    def __init__(self, settings: Settings, route: Route) -> None:
        self.history = SplitHistory()
        self._settings, self._route = settings, route
        self._topic: SplitsTopic | None = None
        self._absent: set[tuple[int, str]] = set()
        self._read_up_to, self._begun, self._read_at = -1, float("-inf"), float("-inf")
        self._reading = asyncio.Lock()

    async def cover(self, predictions: Predictions) -> None:
        """Read R.splits to its end where the predictions name a split that is not known, or none; an outage is waited
        for. Raises TopicError.

        A router writes its split before the first record that it routes by it, so what the end does not bring, it never
        will. To those that name no split belong splits that were written before them: these are there once R.splits
        has been read after them, at whatever time their clocks have put them.
        """
        arrived, named = time.monotonic(), {(origin.epoch, origin.digest) for origin in set(predictions.origin)}
        latest = _latest_foreign(predictions) if (0, "") in named else None
        named.discard((0, ""))
        while self._misses(named, latest, arrived):
            async with self._reading:
                # Unless somebody else has read meanwhile.
                if self._misses(named, latest, arrived) and await self._read(named):
                    return

    async def read_once(self) -> None:
        """Return once R.splits has been read to its end at least once. Raises TopicError."""
        while self._read_up_to < 0:
            async with self._reading:
                if self._read_up_to < 0:
                    await self._read(set())

    def close(self) -> None:
        topic, self._topic = self._topic, None
        if topic is not None:
            detached(topic.close, name="end of a reader")

    def _misses(self, named: set[tuple[int, str]], latest: int | None, arrived: float) -> bool:
        """`latest`: Kafka time of the latest prediction that names no split; of a time long ago all has been read."""
        if latest is not None and latest > self._read_up_to - CLOCK_SKEW_MS and self._begun < arrived:
            return True
        return any(not self.history.knows(*split) and split not in self._absent for split in named)

    async def _read(self, named: set[tuple[int, str]]) -> bool:
        """False where Kafka does not answer."""
        await asyncio.sleep(max(0.0, self._read_at + _APART - time.monotonic()))
        clock, begun = now_ms(), time.monotonic()
        try:
            splits = await in_thread(self._to_the_end)
        except UnreachableError as error:
            self.close()  # it may never find its way back
            _log.warning("the splits cannot be read: their predictions wait", error=str(error))
            await asyncio.sleep(_AFTER_OUTAGE)
            return False
        for applied, written in splits:
            self.history.add(applied, written)
        self._read_up_to, self._begun, self._read_at = clock, begun, time.monotonic()
        absent = {split for split in named if not self.history.knows(*split)}
        for epoch, digest in sorted(absent - self._absent):
            _log.warning("predictions name a split that R.splits does not hold", epoch=epoch, digest=digest)
        if len(self._absent) > _MOST_ABSENT:
            self._absent.clear()
        self._absent |= absent
        return True

    def _to_the_end(self) -> list[tuple[AppliedSplit, int]]:
        """What is new. Blocks, and is called by one thread at a time."""
        if self._topic is None:
            self._topic = SplitsTopic(self._settings, self._route)
        return self._topic.read_to_end()


def _latest_foreign(predictions: Predictions) -> int:
    """The latest Kafka time of those that name no split."""
    foreign = np.array([origin.epoch == 0 and not origin.digest for origin in predictions.origin], np.bool_)
    return int(predictions.time[foreign].max(initial=-1))
