"""The owner of one input partition: takes over from its predecessor, rebuilds the rows, joins, writes evidence.

Kafka lets only a partition's latest owner write. Whom it refuses, and whose flush fails for any other reason, forgets
everything and begins again once the group confirms that the partition is its own.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import structlog
from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException
from faust.types import TP

from stream_router.adapters.evidence_log import DeadLetter, EvidenceLog, EvidenceWriter, Place
from stream_router.adapters.faust_chunks import Chunk, ChunkApp
from stream_router.adapters.labels import decode_label
from stream_router.adapters.metrics import DEAD_LETTERS, EVIDENCE_FLUSH_SECONDS, LABELS
from stream_router.adapters.records import decode_prediction
from stream_router.core.dead_letter import DeadLetterLimit, dead_letter_headers
from stream_router.core.joining.evidence import Positions
from stream_router.core.joining.join import Join
from stream_router.core.policy import Policy
from stream_router.errors import DecodeError
from stream_router.processes.background import in_thread

Side = Literal["predictions", "ground_truth"]

_FLUSH: Final = 0.1
_ASK_AGAIN: Final = 0.05
_AFTER_ERROR: Final = 0.2
"""Seconds between flushes, between questions to the group, and before a new attempt."""

_HUNG: Final = 25.0
"""Seconds after which a flush has hung: librdkafka may not get over an outage in the middle of a transaction."""

_NOWHERE: Final = Positions(0, 0)
_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the owners of one process share."""

    app: ChunkApp
    log: EvidenceLog
    policy: Policy
    worker: str
    limit: DeadLetterLimit


class Owner:
    """One input partition. All methods belong into the loop of the app."""

    def __init__(self, shared: Shared, partition: int) -> None:
        self._shared, self._partition, self._dropped = shared, partition, False
        self._tps: dict[Side, TP] = {
            "predictions": TP(shared.log.inputs(partition).predictions.topic, partition),
            "ground_truth": TP(shared.log.inputs(partition).ground_truth.topic, partition),
        }
        self._writer: EvidenceWriter | None = None
        self._forget()

    def _forget(self) -> None:
        self._live = self._rebuilt = False
        self._lost: KafkaError | None = None
        self._gap = False
        self._seek = 0
        self._place = Place(_NOWHERE, _NOWHERE, 0)
        self._positions = _NOWHERE
        self._written: Positions | None = None
        self._since = 0
        self._tick: tuple[int, Mapping[TP, int]] | None = None
        self._join = Join(self._shared.policy, _NOWHERE)
        self._dead_letters: list[DeadLetter] = []

    @property
    def inputs(self) -> set[TP]:
        """The partition of both inputs."""
        return set(self._tps.values())

    @property
    def live(self) -> bool:
        """Whether it has taken over and reads."""
        return self._live

    def drop(self) -> None:
        """The partition has gone to someone else."""
        self._dropped = True

    async def run(self) -> None:
        """Own the partition until it is dropped."""
        while not self._dropped:
            try:
                await self._take_over()
                while not self._dropped:
                    await asyncio.sleep(_FLUSH)
                    if self._gap:
                        _log.info("a chunk was lost on its way, reading it again", partition=self._partition)
                        self._gap = False
                        await self.resume()
                    await self._flush()
            except (KafkaException, KafkaError, TimeoutError) as error:
                _log.warning(
                    "evidence refused, the partition is taken anew", partition=self._partition, error=repr(error)
                )
                await asyncio.sleep(_AFTER_ERROR)
            self._forget()
        await in_thread(setattr, self, "_writer", None)  # in a thread: the end of a producer takes time

    async def resume(self) -> None:
        """Read on from where we are, also after a rebalance that left the partition here."""
        self._seek = self._shared.app.next_seek()  # before the seek: what is under way must not move the positions
        try:
            await self._shared.app.seek(self._offsets(self._positions), self._seek)
        except KafkaError as error:
            self._lost = error

    def on_chunk(self, side: Side, chunk: Chunk) -> None:
        """Join a chunk. Raises DeadLetterLimitError."""
        if chunk.seek != self._seek:  # was on its way when we sought
            return
        if chunk.start != getattr(self._positions, side):  # one before it was lost on its way
            self._gap, self._seek = True, 0
            return
        if side == "predictions":
            self._join.on_predictions(
                self._decoded(side, chunk, lambda record: (record.offset, decode_prediction(record.value)))
            )
            self._positions = self._positions._replace(predictions=chunk.position)
        else:
            self._join.on_labels(
                self._decoded(side, chunk, lambda record: decode_label(record.value, record.timestamp, record.offset))
            )
            self._positions = self._positions._replace(ground_truth=chunk.position)

    def offer_tick(self, clock: int, ends: Mapping[TP, int]) -> None:
        """`ends` are the ends of the inputs, asked after `clock` was read. One from before we took over is refused."""
        if self._live and self._since < clock and self._tick is None:
            self._tick = clock, ends

    async def _take_over(self) -> None:
        shared, begun = self._shared, time.monotonic()
        while not self._dropped:
            await asyncio.sleep(_ASK_AGAIN)
            if await self._confirmed():  # before we shut anyone out
                await in_thread(self._shut_out_predecessor)
                if await self._confirmed():  # and after
                    break
        else:
            return
        self._place = await in_thread(shared.log.place, self._partition)
        self._join = Join(shared.policy, self._place.base)
        self._positions, self._since, self._live = self._place.start, _now(), True
        _log.info(
            "partition taken",
            partition=self._partition,
            seconds=round(time.monotonic() - begun, 3),
            base=self._place.base._asdict(),
            rebuild_from=self._place.start._asdict(),
        )
        await self.resume()

    async def _confirmed(self) -> bool:
        return await self._shared.app.is_ours(self.inputs) and not self._dropped

    def _shut_out_predecessor(self) -> None:
        self._writer = self._shared.log.writer(self._partition)

    def _offsets(self, positions: Positions) -> dict[TP, int]:
        return {tp: getattr(positions, side) for side, tp in self._tps.items()}

    def _decoded(self, side: Side, chunk: Chunk, decode: Callable[[Any], Any]) -> list[Any]:
        decoded = []
        for record in chunk.records:
            try:
                decoded.append(decode(record))
            except DecodeError as error:
                if record.offset >= getattr(self._place.base, side):
                    self._divert(record, error)
        self._shared.limit.on_records(len(decoded))
        return decoded

    def _divert(self, record: Any, error: DecodeError) -> None:
        where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        _log.warning("dead letter", reason=str(error), **where)
        self._shared.limit.on_dead_letter(error)
        added = dead_letter_headers(**where, stage="VALUE_CONVERTER", error=error)
        self._dead_letters.append(DeadLetter(record.key, record.value, [*record.headers, *added]))
        DEAD_LETTERS.labels(topic=record.topic, reason=type(error).__name__).inc()

    async def _flush(self) -> None:
        positions, base = self._positions, self._place.base
        if self._lost is not None:
            raise self._lost
        if not self._rebuilt:
            if positions.predictions < base.predictions or positions.ground_truth < base.ground_truth:
                return
            self._rebuilt = True
            _log.info("rows rebuilt", partition=self._partition, rows=self._join.rows, early=self._join.early)
        tick = self._due_tick(positions)
        if tick is not None:
            self._join.on_tick(tick)
            self._place = self._place._replace(tick=tick)
        harvest, dead_letters, self._dead_letters = self._join.take(), self._dead_letters, []
        if not (harvest or dead_letters or tick is not None or positions != self._written):
            return
        records = harvest.records(
            by=self._shared.worker, written_at=_now(), partition=self._partition, positions=positions, tick=tick
        )
        place = Place(positions, self._join.rebuild_from(positions), self._place.tick)
        kinds = self._join.kinds.copy()
        self._join.kinds.clear()
        self._written = positions
        with EVIDENCE_FLUSH_SECONDS.time():
            await in_thread(self._write, records, dead_letters, place, timeout=_HUNG)
        for kind, count in kinds.items():
            LABELS.labels(outcome=kind).inc(count)

    def _write(self, *arguments: Any) -> None:
        if self._writer is not None:
            self._writer.write(*arguments)

    def _due_tick(self, positions: Positions) -> int | None:
        """The offered tick once all has been read that the inputs held then; ticks never fall."""
        if self._tick is None:
            return None
        clock, ends = self._tick
        if any(offset < ends.get(tp, 0) for tp, offset in self._offsets(positions).items()):
            return None
        self._tick = None
        return max(clock, self._place.tick)


def _now() -> int:
    return time.time_ns() // 1_000_000
