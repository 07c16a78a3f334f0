"""An owner's flushes: all that there is to say, in one transaction with the positions behind it."""

import time
from collections.abc import Sequence

from stream_router.adapters.clock import now_ms
from stream_router.adapters.kafka.evidence_log import EvidenceWriter, ResumePoint
from stream_router.adapters.kafka.producers import Outgoing
from stream_router.adapters.metrics import EVIDENCE_FLUSH_SECONDS, LABELS, OUTCOMES_NOT_WRITTEN
from stream_router.adapters.rows_file import Arrays
from stream_router.core.evidence import Evidence
from stream_router.processes.background import in_thread
from stream_router.processes.shared import Shared
from stream_router.processes.tenure import Tenure


class Flusher:
    """Of one input partition. Writes nothing before it has begun. Its methods belong into the loop of the app."""

    def __init__(self, shared: Shared, partition: int) -> None:
        self._shared, self._partition = shared, partition
        self._writer: EvidenceWriter | None = None

    async def begin(self) -> None:
        """Shut out whoever wrote the partition's evidence before. Raises KafkaException, UnreachableError."""
        self.retire()
        self._writer = await in_thread(self._shared.log.writer, self._partition)

    def retire(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.retire()

    async def flush_positions(self, resume: ResumePoint) -> None:
        """Nothing but those of `resume`, which tells the broker's time. Raises KafkaException, UnreachableError."""
        record = Evidence(
            by=self._shared.worker, written_at=now_ms(), partition=self._partition, positions=resume.positions
        )
        await self._write([record], [], resume)

    async def flush(self, tenure: Tenure) -> None:
        """What has come about in the tenure since its last flush. Raises KafkaException, UnreachableError."""
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
