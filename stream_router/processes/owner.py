"""The owner of one input partition: takes over from its predecessor, rebuilds the rows, joins, writes evidence.

Kafka lets only a partition's latest owner write. Whom it refuses, and whose flush fails for any other reason, forgets
everything and begins again once the group confirms that the partition is its own.
"""

import asyncio
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum, auto
from typing import Final, NamedTuple

import structlog
from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException
from faust.types import TP

from stream_router.adapters.faust.chunks import Chunk
from stream_router.adapters.kafka.failures import cause_of, passes
from stream_router.adapters.metrics import RECORDS_MISSED
from stream_router.core.evidence import Positions
from stream_router.errors import UnreachableError
from stream_router.processes.flusher import Flusher
from stream_router.processes.shared import Shared, Side
from stream_router.processes.takeover import Takeover
from stream_router.processes.tenure import Tenure

_AFTER_ERROR: Final = 0.2
"""Seconds before a partition is taken anew."""

_log = structlog.get_logger()


class State(Enum):
    """Of an owner. What arrives while it takes over, and once it is dropped, is passed over.

    TAKING_OVER: asks the group, shuts out the predecessor, learns where to go on and what time it is. REBUILDING: reads
    what the predecessor has spoken of already, to hold the same rows, and writes nothing. JOINING: writes evidence.
    DROPPED: the partition has gone to someone else.
    """

    TAKING_OVER = auto()
    REBUILDING = auto()
    JOINING = auto()
    DROPPED = auto()


class Progress(NamedTuple):
    """How far an owner is; times in milliseconds since the epoch, 0 where there is none."""

    rows: int
    waiting_labels: int
    newest_label: int
    watermark: int


class Owner:
    """One input partition. All methods belong into the loop of the app."""

    def __init__(self, shared: Shared, partition: int) -> None:
        self._shared, self._partition = shared, partition
        inputs = shared.log.inputs(partition)
        self._tps: dict[Side, TP] = {
            "predictions": TP(inputs.predictions.topic, partition),
            "ground_truth": TP(inputs.ground_truth.topic, partition),
        }
        self.state = State.TAKING_OVER
        self._tenure: Tenure | None = None
        self._flusher = Flusher(shared, partition)
        self._news = asyncio.Event()

    @property
    def inputs(self) -> set[TP]:
        """The partition of both inputs."""
        return set(self._tps.values())

    @property
    def reads(self) -> bool:
        """Whether it has taken over."""
        return self.state in (State.REBUILDING, State.JOINING)

    @property
    def progress(self) -> Progress | None:
        """None where it holds nothing."""
        tenure = self._tenure
        if tenure is None or not self.reads:
            return None
        return Progress(tenure.join.rows, tenure.join.early, tenure.newest_label, tenure.resume.watermark)

    @property
    def is_dropped(self) -> bool:
        return self.state is State.DROPPED

    def drop(self) -> None:
        """The partition has gone to someone else."""
        self.state = State.DROPPED
        self._news.set()

    async def run(self) -> None:
        """Own the partition until it is dropped."""
        while not self.is_dropped:
            try:
                tenure = await self._take_over()
                while tenure is not None and not (self.is_dropped and tenure.is_said):
                    await self._until_due(tenure)
                    await self._turn(tenure)
            except (KafkaException, KafkaError, UnreachableError, TimeoutError) as error:
                what = "Kafka does not answer" if _is_outage(error) else "evidence refused"
                _log.warning(f"{what}, the partition is taken anew", partition=self._partition, error=repr(error))
                await asyncio.sleep(_AFTER_ERROR)
            self._tenure = None
            self._enter(State.TAKING_OVER)
        self._flusher.retire()

    async def resume(self) -> None:
        """Read on from where we are, also after a rebalance that left the partition here."""
        if self._tenure is not None:
            await self._seek(self._tenure)
            self._news.set()

    async def on_chunk(self, side: Side, chunk: Chunk) -> None:
        """Join a chunk, once the splits that its predictions name have been read. Raises DeadLetterLimitError."""
        tenure = self._expecting(side, chunk)
        if tenure is None:
            return
        shared, base = self._shared, tenure.resume.positions
        if side == "predictions":
            predictions = shared.intake.predictions(chunk.records, tenure.resume)
            await shared.splits.cover(predictions.columns)
            if self._expecting(side, chunk) is not tenure:
                return
            letters = shared.intake.letters(self._tps[side], predictions, base.predictions)
            tenure.join.on_predictions(predictions.columns)
            moved = tenure.positions._replace(predictions=chunk.position)
        else:
            labels = shared.intake.labels(chunk.records, tenure.resume)
            letters = shared.intake.letters(self._tps[side], labels, base.ground_truth)
            tenure.join.on_labels(labels.columns)
            tenure.newest_label = int(labels.columns.time.max(initial=tenure.newest_label))
            moved = tenure.positions._replace(ground_truth=chunk.position)
        if chunk.skipped_to is not None:
            self._on_skipped(side, chunk.start, chunk.skipped_to)
        tenure.dead_letters += letters
        tenure.on_read(
            moved,
            records=len(chunk.records),
            partitions=shared.partitions,
            splits=shared.splits.history,
            now=time.monotonic(),
        )
        tenure.reach(self._offsets(moved))
        self._news.set()

    def _expecting(self, side: Side, chunk: Chunk) -> Tenure | None:
        """The tenure that the chunk goes on with."""
        tenure = self._tenure
        if tenure is None or not self.reads or chunk.seek != tenure.seek:  # was on its way when we sought
            return None
        if chunk.start != getattr(tenure.positions, side):  # one before it was lost on its way
            _log.info("a chunk was lost on its way, reading it again", partition=self._partition)
            tenure.seek = None
            self._news.set()
            return None
        return tenure

    def _on_skipped(self, side: Side, position: int, log_start: int) -> None:
        topic = self._tps[side].topic
        RECORDS_MISSED.labels(topic).inc(max(0, log_start - position))
        _log.error(
            "records were deleted before they were read"
            if log_start >= position
            else "the topic ends before what was read of it: it was made anew, or its newest records were lost",
            topic=topic,
            partition=self._partition,
            first_missing=position,
            log_start=log_start,
        )

    def offer_watermark(self, clock: int, ends: Mapping[TP, int]) -> None:
        """`ends` are the ends of the inputs, asked after `clock` was read. One from before we took over is refused."""
        tenure = self._tenure
        if tenure is not None:
            tenure.offer(clock, ends)
            tenure.reach(self._offsets(tenure.positions))
            self._news.set()

    def _enter(self, state: State) -> None:
        if not self.is_dropped:
            self.state = state

    async def _take_over(self) -> Tenure | None:
        """None where the partition was dropped meanwhile."""
        takeover = Takeover(
            self._shared, self._partition, self.inputs, self._flusher, is_dropped=lambda: self.is_dropped
        )
        tenure = self._tenure = await takeover.run()
        if tenure is not None:
            self._enter(State.REBUILDING)
            await self._seek(tenure)
        return tenure

    async def _seek(self, tenure: Tenure) -> None:
        tenure.seek = self._shared.app.next_seek()  # before the seek: what is under way must not move the positions
        try:
            await self._shared.app.seek(self._offsets(tenure.positions), tenure.seek)
        except KafkaError as error:
            tenure.failure = error

    def _offsets(self, positions: Positions) -> dict[TP, int]:
        return {tp: getattr(positions, side) for side, tp in self._tps.items()}

    async def _until_due(self, tenure: Tenure) -> None:
        while not self.is_dropped and (wait := tenure.due_at() - time.monotonic()) > 0:
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if wait == math.inf else wait):
                    await self._news.wait()

    async def _turn(self, tenure: Tenure) -> None:
        if tenure.seek is None:
            await self._seek(tenure)
        if tenure.failure is not None:
            raise tenure.failure
        if not tenure.is_rebuilt:  # whatever the state: one that is dropped meanwhile must not write old positions
            return
        if not tenure.is_joining:
            tenure.is_joining = True
            self._enter(State.JOINING)
            _log.info(
                "rows rebuilt",
                partition=self._partition,
                predictions=tenure.join.rows,
                waiting_labels=tenure.join.early,
            )
        elif not tenure.schedule.is_empty and (self.is_dropped or tenure.due_at() <= time.monotonic()):
            await self._flusher.flush(tenure)


def _is_outage(error: Exception) -> bool:
    if isinstance(error, KafkaException):
        return passes(cause_of(error))
    return isinstance(error, (UnreachableError, TimeoutError)) or getattr(error, "retriable", False)
