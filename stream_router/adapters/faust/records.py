"""aiokafka's records as its decoder makes them, also those with a header whose name is not UTF-8.

At such a name aiokafka's own reader stands still for ever. Nobody behind Faust reads headers, so such a record is like
any other: its names are shown with escapes. A decoder's record has offset, timestamp, timestamp_type, key, value and
headers; the ConsumerRecord that aiokafka makes of each costs several times as much, and tells topic and partition anew.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

# ruff: noqa: SLF001 - as in chunks.py, internals are what this module is about


def install() -> None:
    """Let every consumer of the process read such records."""
    fetcher.MemoryRecords = _Records
    fetcher.PartitionRecords = _PartitionRecords


class _PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # Faust and aiokafka have no types for us
    def _consumer_record(self, tp: Any, record: Any) -> Any:  # noqa: ARG002 - aiokafka's signature
        return record


class _Records(_MemoryRecordsPy):  # type: ignore[misc]  # final for users of aiokafka, which has no other place for it
    def next_batch(self) -> Any:
        raw, batch = self._next_slice, super().next_batch()
        return batch if batch is None or raw is None or batch.is_control_batch else _Batch(batch, raw)


class _Batch:
    """Read by the fast reader, and once more by the slow one where that fails."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch, self._raw = batch, raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._batch))
        except UnicodeDecodeError:
            slow = _DefaultRecordBatchPy(self._raw)
            slow._maybe_uncompress()
            slow._buffer = _Escaping(slow._buffer)
            return iter(slow)


class _Escaping(bytearray):
    """Bytes that are text in any case."""

    def __getitem__(self, place: Any) -> Any:
        part = super().__getitem__(place)
        return _Escaping(part) if isinstance(place, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)
