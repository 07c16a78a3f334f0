"""The owner of one input partition: takes over from its predecessor, rebuilds the rows, joins, writes evidence.

Kafka lets only a partition's latest owner write. Whom it refuses, and whose flush fails for any other reason, forgets
everything and begins again once the group confirms that the partition is its own.
"""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Final, Literal, NamedTuple, TypedDict

import structlog
from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException
from faust.types import TP

from stream_router.adapters.clock import now_ms
from stream_router.adapters.faust.chunks import Chunk, ChunkApp
from stream_router.adapters.kafka.evidence_log import EvidenceLog, EvidenceWriter, ResumePoint
from stream_router.adapters.kafka.failures import cause_of, passes
from stream_router.adapters.kafka.producers import Outgoing
from stream_router.adapters.metrics import EVIDENCE_FLUSH_SECONDS, LABELS, OUTCOMES_NOT_WRITTEN, RECORDS_MISSED
from stream_router.adapters.rows_file import Arrays
from stream_router.core.evidence import Evidence, Positions
from stream_router.core.joining.agreement import Bad
from stream_router.core.joining.join import Join
from stream_router.core.joining.maturity import watermark_past
from stream_router.core.policy import CLOCK_SKEW_MS, Policy
from stream_router.errors import UnreachableError
from stream_router.processes.background import in_thread
from stream_router.processes.clock_check import ClockCheck
from stream_router.processes.intake import Intake
from stream_router.processes.known_splits import KnownSplits
from stream_router.processes.rows_on_disk import RowsOnDisk
from stream_router.processes.tenure import Tenure

Side = Literal["predictions", "ground_truth"]

_ASK_AGAIN: Final = 0.05
"""Seconds between questions to the group."""

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


class _Options(TypedDict):
    """Of a join."""

    told_until: int
    early_limit: int
    bad: Bad | None


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the owners of one process share."""

    app: ChunkApp
    log: EvidenceLog
    policy: Policy
    worker: str
    partitions: int
    splits: KnownSplits
    intake: Intake
    clock: ClockCheck
    early_limit: int
    bad: Bad | None = None
    disk: RowsOnDisk | None = None


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
        self._writer: EvidenceWriter | None = None
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
        self._retire_writer()

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
        shared, begun = self._shared, time.monotonic()
        while True:
            await asyncio.sleep(_ASK_AGAIN)
            if self.is_dropped:
                return None
            if await self._confirmed():  # before we shut anyone out
                self._retire_writer()
                self._writer = await in_thread(shared.log.writer, self._partition)
                if await self._confirmed():  # and after
                    break
        resume = await self._checked(await in_thread(shared.log.resume_point, self._partition))
        join, begin = await self._rows(resume)
        if self.is_dropped:
            return None
        tenure = self._tenure = Tenure(shared.policy, resume, join, begin=begin, since=now_ms(), now=time.monotonic())
        self._enter(State.REBUILDING)
        _log.info(
            "partition taken",
            partition=self._partition,
            seconds=round(time.monotonic() - begun, 3),
            positions=resume.positions._asdict(),
            reads_from=begin._asdict(),
            predictions_from_disk=join.rows,
        )
        await self._seek(tenure)
        return tenure

    async def _checked(self, resume: ResumePoint) -> ResumePoint:
        """It, once a flush of the positions alone has told the broker's time, which no chunk is judged without.

        A predecessor's watermark that is far ahead of it is dropped. By that one it has told of all that it had read,
        and which of it is not known: so nothing is told of windows in which any of it may lie.
        """
        record = Evidence(
            by=self._shared.worker, written_at=now_ms(), partition=self._partition, positions=resume.positions
        )
        await self._write([record], [], resume)
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

    async def _confirmed(self) -> bool:
        return await self._shared.app.is_ours(self.inputs) and not self.is_dropped

    def _retire_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.retire()

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
            await self._flush(tenure)

    async def _flush(self, tenure: Tenure) -> None:
        """All that there is to say, in one transaction with the positions behind it."""
        positions = tenure.positions
        offered, tenure.watermark = tenure.watermark, None
        tenure.schedule.on_flush(time.monotonic(), with_watermark=offered is not None)
        watermark = None if offered is None else self._trusted(offered, tenure)
        if watermark is not None:
            tenure.join.on_watermark(watermark)
            tenure.resume = tenure.resume._replace(watermark=watermark)
        output, dead_letters, tenure.dead_letters = tenure.join.take(), tenure.dead_letters, []
        newest = max(output.newest_unripe, tenure.resume.newest_outcome)
        tenure.resume = tenure.resume._replace(newest_outcome=newest)
        records = output.records(
            by=self._shared.worker,
            written_at=now_ms(),
            partition=self._partition,
            positions=positions,
            watermark=watermark,
        )
        resume = tenure.resume._replace(
            positions=positions,
            rebuild_from=tenure.join.rebuild_from(positions),
            broker_time=self._shared.intake.now,
        )
        kinds, left_out = tenure.join.kinds.copy(), tenure.join.left_out.copy()
        tenure.join.kinds.clear()
        tenure.join.left_out.clear()
        letters = [letter.outgoing for letter in dead_letters]
        begun, rows = time.monotonic(), self._due_rows(tenure)
        await self._write(records, letters, resume)
        if rows is not None and self._shared.disk is not None:
            self._shared.disk.write(self._partition, positions, rows, begun)
        for letter in dead_letters:
            letter.on_committed()
        for kind, count in kinds.items():
            LABELS.labels(outcome=kind).inc(count)
        for reason, count in left_out.items():
            OUTCOMES_NOT_WRITTEN.labels(reason).inc(count)

    async def _write(self, records: Sequence[Evidence], letters: Sequence[Outgoing], resume: ResumePoint) -> None:
        """Raises KafkaException, UnreachableError."""
        if self._writer is None:
            return
        with EVIDENCE_FLUSH_SECONDS.labels(self._shared.log.route.name).time():
            appended = await in_thread(self._writer.write, records, letters, resume)
        self._shared.clock.on_written(appended)

    def _due_rows(self, tenure: Tenure) -> Arrays | None:
        """The rows as they are now, where it is time to write them to disk: once what they speak of is committed."""
        disk = self._shared.disk
        if disk is None or not disk.is_due(since=tenure.on_disk_since, changes=tenure.changes, rows=tenure.join.rows):
            return None
        tenure.changes, tenure.on_disk_since = 0, time.monotonic()
        return tenure.join.state()

    def _trusted(self, offered: int, tenure: Tenure) -> int | None:
        """The watermark, unless this machine's clock is not to be trusted; watermarks never fall."""
        return max(offered, tenure.resume.watermark) if self._shared.clock.admits(offered) else None


def _is_outage(error: Exception) -> bool:
    if isinstance(error, KafkaException):
        return passes(cause_of(error))
    return isinstance(error, (UnreachableError, TimeoutError)) or getattr(error, "retriable", False)
