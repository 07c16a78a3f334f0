"""The owner of one input partition: takes over from its predecessor, rebuilds the rows, joins, writes evidence.

Kafka lets only a partition's latest owner write. Whom it refuses, and whose flush fails for any other reason, forgets
everything and begins again once the group confirms that the partition is its own.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Literal

import structlog
from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException
from faust.types import TP

from stream_router.adapters.avro.labels import decode_label
from stream_router.adapters.avro.records import decode_prediction
from stream_router.adapters.clock import now_ms
from stream_router.adapters.faust.chunks import Chunk, ChunkApp
from stream_router.adapters.kafka.dead_letters import DeadLetter, DeadLetters, Unreadable
from stream_router.adapters.kafka.evidence_log import EvidenceLog, EvidenceWriter, ResumePoint
from stream_router.adapters.kafka.failures import cause_of, passes
from stream_router.adapters.metrics import EVIDENCE_FLUSH_SECONDS, LABELS
from stream_router.core.evidence import Positions
from stream_router.core.joining.join import Join
from stream_router.core.policy import Policy
from stream_router.errors import DecodeError, UnreachableError
from stream_router.processes.background import in_thread

Side = Literal["predictions", "ground_truth"]

_FLUSH: Final = 0.1
"""Seconds between flushes."""

_ASK_AGAIN: Final = 0.05
"""Seconds between questions to the group."""

_AFTER_ERROR: Final = 0.2
"""Seconds before a partition is taken anew."""

_log = structlog.get_logger()


class State(Enum):
    """Of an owner. What arrives while it takes over, and once it is dropped, is passed over.

    TAKING_OVER: asks the group, shuts out the predecessor, learns where to go on. REBUILDING: reads what the
    predecessor has spoken of already, to hold the same rows, and writes nothing. JOINING: writes evidence. DROPPED: the
    partition has gone to someone else.
    """

    TAKING_OVER = auto()
    REBUILDING = auto()
    JOINING = auto()
    DROPPED = auto()


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the owners of one process share."""

    app: ChunkApp
    log: EvidenceLog
    policy: Policy
    worker: str
    dead_letters: DeadLetters


class Tenure:
    """What an owner knows from one takeover until it is refused: all of it is forgotten together.

    `positions`: how far both inputs have been read. `seek`: number of the latest seek, None where one is wanted.
    """

    def __init__(self, policy: Policy, resume: ResumePoint, since: int) -> None:
        self.resume, self.since = resume, since
        self.positions = resume.rebuild_from
        self.written: Positions | None = None
        self.seek: int | None = None
        self.failure: KafkaError | None = None
        self.offered: tuple[int, Mapping[TP, int]] | None = None
        self.join = Join(policy, resume.positions)
        self.dead_letters: list[DeadLetter] = []

    @property
    def is_rebuilt(self) -> bool:
        """Whether both inputs have been read up to where the predecessor had spoken of them."""
        read, said = self.positions, self.resume.positions
        return read.predictions >= said.predictions and read.ground_truth >= said.ground_truth


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

    @property
    def inputs(self) -> set[TP]:
        """The partition of both inputs."""
        return set(self._tps.values())

    @property
    def reads(self) -> bool:
        """Whether it has taken over."""
        return self.state in (State.REBUILDING, State.JOINING)

    @property
    def is_dropped(self) -> bool:
        return self.state is State.DROPPED

    def drop(self) -> None:
        """The partition has gone to someone else."""
        self.state = State.DROPPED

    async def run(self) -> None:
        """Own the partition until it is dropped."""
        while not self.is_dropped:
            try:
                tenure = await self._take_over()
                while tenure is not None and not self.is_dropped:
                    await asyncio.sleep(_FLUSH)
                    await self._flush(tenure)
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

    def on_chunk(self, side: Side, chunk: Chunk) -> None:
        """Join a chunk. Raises DeadLetterLimitError."""
        tenure = self._tenure
        if tenure is None or not self.reads or chunk.seek != tenure.seek:  # was on its way when we sought
            return
        if chunk.start != getattr(tenure.positions, side):  # one before it was lost on its way
            _log.info("a chunk was lost on its way, reading it again", partition=self._partition)
            tenure.seek = None
            return
        if side == "predictions":
            tenure.join.on_predictions(
                self._decoded(tenure, side, chunk, lambda record: (record.offset, decode_prediction(record.value)))
            )
            tenure.positions = tenure.positions._replace(predictions=chunk.position)
        else:
            tenure.join.on_labels(
                self._decoded(
                    tenure, side, chunk, lambda record: decode_label(record.value, record.timestamp, record.offset)
                )
            )
            tenure.positions = tenure.positions._replace(ground_truth=chunk.position)

    def offer_watermark(self, clock: int, ends: Mapping[TP, int]) -> None:
        """`ends` are the ends of the inputs, asked after `clock` was read. One from before we took over is refused."""
        tenure = self._tenure
        if tenure is not None and tenure.since < clock and tenure.offered is None:
            tenure.offered = clock, ends

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
        resume = await in_thread(shared.log.resume_point, self._partition)
        tenure = self._tenure = Tenure(shared.policy, resume, now_ms())
        self._enter(State.REBUILDING)
        _log.info(
            "partition taken",
            partition=self._partition,
            seconds=round(time.monotonic() - begun, 3),
            positions=resume.positions._asdict(),
            rebuild_from=resume.rebuild_from._asdict(),
        )
        await self._seek(tenure)
        return tenure

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

    def _decoded(self, tenure: Tenure, side: Side, chunk: Chunk, decode: Callable[[Any], Any]) -> list[Any]:
        decoded = []
        for record in chunk.records:
            try:
                decoded.append(decode(record))
            except DecodeError as error:
                if record.offset >= getattr(tenure.resume.positions, side):
                    unreadable = Unreadable(
                        self._tps[side].topic, self._partition, record.offset, record.key, record.value, record.headers
                    )
                    tenure.dead_letters.append(self._shared.dead_letters.letter(unreadable, error))
        self._shared.dead_letters.on_records(len(decoded))
        return decoded

    async def _flush(self, tenure: Tenure) -> None:
        if tenure.seek is None:
            await self._seek(tenure)
        if tenure.failure is not None:
            raise tenure.failure
        if not tenure.is_rebuilt:  # whatever the state: one that is dropped meanwhile must not write old positions
            return
        if self.state is State.REBUILDING:
            self._enter(State.JOINING)
            join = tenure.join
            _log.info("rows rebuilt", partition=self._partition, rows=join.rows, early=join.early)
        positions = tenure.positions
        watermark = self._due_watermark(tenure)
        if watermark is not None:
            tenure.join.on_watermark(watermark)
            tenure.resume = tenure.resume._replace(watermark=watermark)
        output, dead_letters, tenure.dead_letters = tenure.join.take(), tenure.dead_letters, []
        if not (output or dead_letters or watermark is not None or positions != tenure.written):
            return
        records = output.records(
            by=self._shared.worker,
            written_at=now_ms(),
            partition=self._partition,
            positions=positions,
            watermark=watermark,
        )
        resume = ResumePoint(positions, tenure.join.rebuild_from(positions), tenure.resume.watermark)
        kinds = tenure.join.kinds.copy()
        tenure.join.kinds.clear()
        tenure.written = positions
        letters = [letter.outgoing for letter in dead_letters]
        if self._writer is not None:
            with EVIDENCE_FLUSH_SECONDS.labels(self._shared.log.route.name).time():
                await in_thread(self._writer.write, records, letters, resume)
        for letter in dead_letters:
            letter.on_committed()
        for kind, count in kinds.items():
            LABELS.labels(outcome=kind).inc(count)

    def _due_watermark(self, tenure: Tenure) -> int | None:
        """The offered watermark once all has been read that the inputs held then; watermarks never fall."""
        if tenure.offered is None:
            return None
        clock, ends = tenure.offered
        if any(offset < ends.get(tp, 0) for tp, offset in self._offsets(tenure.positions).items()):
            return None
        tenure.offered = None
        return max(clock, tenure.resume.watermark)


def _is_outage(error: Exception) -> bool:
    if isinstance(error, KafkaException):
        return passes(cause_of(error))
    return isinstance(error, (UnreachableError, TimeoutError)) or getattr(error, "retriable", False)
