"""Snapshots of a controller's fold: from which one a term begins, and when it writes the next."""

import time
from typing import Final

import structlog

from stream_router.adapters.kafka.producers import Outgoing
from stream_router.adapters.kafka.verdict_state import Snapshot, newest_snapshot, records_of
from stream_router.core.deciding.fold import FORMAT, EvidenceFold
from stream_router.core.policy import Policy
from stream_router.core.route import Route
from stream_router.errors import DecodeError
from stream_router.settings import Settings

_RECORDS: Final = 50_000
"""Records of R.evidence after which a snapshot is written."""

_EVERY: Final = 60.0
"""Seconds after which one is written although fewer came."""

_COST: Final = 20.0
"""One that took long to make and write is followed by the next only after this many times that."""

_AFTER_FAILURE: Final = 60.0
"""Seconds without one after a transaction with one has failed, perhaps by it; twice as many after each further one."""

_AFTER_FAILURES: Final = 3_600.0
"""The most of these."""

_log = structlog.get_logger()


class Snapshots:
    """Of all terms of a process. A term that began without one writes one with its first positions that are in no
    hurry, so that what it could not use is never taken for one of its own.
    """

    def __init__(self, settings: Settings, route: Route) -> None:
        self._settings, self._route = settings, route
        self._offset: int | None = None
        self._begun_at = self._written_at = self._not_before = 0.0
        self._pending: int | None = None
        self._failures = 0

    def begin(self, low: int, position: int, policy: Policy, partitions: int) -> tuple[EvidenceFold, int] | None:
        """A term begins: the fold of the newest snapshot and the offset from which it goes on; None where none serves.

        `low` is the first offset that R.evidence still holds, `position` the one behind what was written. Raises
        UnreachableError, TopicError.
        """
        self._offset = None
        if self._pending is not None:
            self._not_before = time.monotonic() + min(_AFTER_FAILURE * 2**self._failures, _AFTER_FAILURES)
            self._failures, self._pending = self._failures + 1, None
        try:
            snapshot = newest_snapshot(self._settings, self._route)
            if snapshot is None:
                return None
            _refuse(snapshot, low, position)
            fold = EvidenceFold.restored(policy, partitions, snapshot.state)
        except (DecodeError, ValueError) as error:
            _log.warning("the snapshot of R.verdict-state is not used", route=self._route.name, why=str(error))
            return None
        self._offset, self._written_at = snapshot.offset, time.monotonic()
        return fold, snapshot.offset

    def due(self, fold: EvidenceFold, next_offset: int, *, in_a_hurry: bool = False) -> list[Outgoing]:
        """The records of a snapshot, if it is time for one; they belong to the transaction of the position, with whose
        failure the term ends.

        `next_offset`: of the first record that the fold does not know. What is in a hurry does not wait for one.
        """
        now = time.monotonic()
        if in_a_hurry or now < self._not_before:
            return []
        if self._offset is not None and next_offset - self._offset < _RECORDS and now - self._written_at < _EVERY:
            return []
        self._pending, self._begun_at = next_offset, now
        return list(records_of(self._route, Snapshot(next_offset, FORMAT, fold.snapshot())))

    def on_committed(self) -> None:
        """The transaction with what was due is there."""
        if self._pending is not None:
            self._offset, self._written_at, self._pending = self._pending, time.monotonic(), None
            self._failures = 0
            self._not_before = self._written_at + _COST * (self._written_at - self._begun_at)


def _refuse(snapshot: Snapshot, low: int, position: int) -> None:
    if snapshot.format != FORMAT:
        raise ValueError(f"it has the format {snapshot.format}, this version reads {FORMAT}")
    if snapshot.offset > position:
        raise ValueError(
            f"it stands for offset {snapshot.offset} and the controller's position is {position}: R.evidence was made "
            "anew, or the group's offset was set back"
        )
    if snapshot.offset < low:
        raise ValueError(f"it goes on at offset {snapshot.offset} and R.evidence begins at {low}")
