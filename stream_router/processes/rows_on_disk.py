"""The rows of a process's partitions on disk, so that a takeover need not read its inputs again from the horizon on."""

import asyncio
import time
from pathlib import Path
from typing import Final

import structlog

from stream_router.adapters.kafka.clients import topic_ids
from stream_router.adapters.kafka.evidence_log import ResumePoint
from stream_router.adapters.rows_file import About, Arrays, Rows, RowsFile
from stream_router.core.evidence import Positions
from stream_router.core.route import Route
from stream_router.errors import StreamRouterError
from stream_router.processes.background import in_thread
from stream_router.settings import Settings

_EVERY: Final = 60.0
"""Seconds between files of a partition in which little changes."""

_CHANGES: Final = 250_000
"""Records after which a file is written sooner; of a large table a quarter of its rows."""

_SHARE: Final = 8
"""All files of the process together take at most one second of so many."""

_log = structlog.get_logger()


class RowsOnDisk:
    """What the owners of a process share. Its methods belong into the loop of the app."""

    def __init__(self, settings: Settings, route: Route, folder: Path) -> None:
        self._settings, self._route, self._folder = settings, route, folder
        self._inputs = [route.topic("predictions"), route.topic("ground-truth")]
        self._topics: dict[str, str] | None = None
        self._free_at = 0.0
        self._writing: asyncio.Task[None] | None = None

    async def found(self, partition: int, resume: ResumePoint) -> Rows | None:
        """The rows from which a takeover may go on, where that is less to read than `resume` asks for; says why not."""
        rows: Rows | None = await in_thread(self._file(partition).read)
        if rows is None:
            return None
        refusal = await self._refusal(rows.about, partition, resume)
        if refusal is not None:
            _log.info("rows on disk are passed over", partition=partition, reason=refusal)
            return None
        return rows

    def is_due(self, *, since: float, changes: int, rows: int) -> bool:
        """Whether to write a partition's file; `since` (seconds of a monotonic clock) the one before, so many records
        have changed the `rows`.
        """
        now = time.monotonic()
        if not changes or now < self._free_at or (self._writing and not self._writing.done()):
            return False
        return now - since >= _EVERY or changes >= max(_CHANGES, rows // 4)

    def write(self, partition: int, positions: Positions, arrays: Arrays, begun: float) -> None:
        """Begin to write; `positions` are committed, `begun` is when the making of the arrays began."""
        self._free_at = float("inf")
        self._writing = asyncio.ensure_future(self._write(partition, positions, arrays, begun))

    async def _write(self, partition: int, positions: Positions, arrays: Arrays, begun: float) -> None:
        try:
            topics = await self._ids()
            about = About(route=self._route.name, partition=partition, positions=positions, topics=topics)
            await in_thread(self._file(partition).write, Rows(about, arrays))
        except (OSError, StreamRouterError) as error:
            _log.warning("rows are not written to disk", partition=partition, error=str(error))
        finally:
            now = time.monotonic()
            self._free_at = now + (_SHARE - 1) * (now - begun)

    async def _refusal(self, about: About, partition: int, resume: ResumePoint) -> str | None:
        committed = resume.positions
        if (about.format, about.route, about.partition) != (About.format, self._route.name, partition):
            return f"they are those of route {about.route}, partition {about.partition}, in format {about.format}"
        if any(said < read for said, read in zip(committed, about.positions, strict=True)):
            return f"they are ahead of the committed positions {tuple(committed)}: {tuple(about.positions)}"
        if sum(about.positions) < sum(resume.rebuild_from):
            return f"what they lack is more than to read from {tuple(resume.rebuild_from)}: {tuple(about.positions)}"
        try:
            topics = await self._ids()
        except StreamRouterError as error:
            return f"the topics' ids are not known: {error}"
        return None if topics == dict(about.topics) else "a topic was deleted and made anew"

    async def _ids(self) -> dict[str, str]:
        if self._topics is None:
            self._topics = await in_thread(topic_ids, self._settings, self._inputs)
        return self._topics

    def _file(self, partition: int) -> RowsFile:
        return RowsFile(self._folder, self._route.name, partition)
