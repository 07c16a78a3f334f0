"""Fetched records decoded into columns, as the join reads them: the whole chunk at once, what is unusual one by one."""

from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream_router.adapters.avro.codec import Codec
from stream_router.adapters.avro.column_reader import Column, ColumnReader
from stream_router.core.joining.columns import Labels, Origin, Predictions
from stream_router.errors import DecodeError

Refused = list[tuple[Any, DecodeError]]
"""Records that are not readable, each with what is wrong with it."""

_FEW: Final = 40
"""So many records are read faster one by one."""

_PREDICTION: Final = Codec.of("prediction")
_GROUND_TRUTH: Final = Codec.of("ground_truth")
_READERS: Final = {codec: ColumnReader(codec.schema, codec.head) for codec in (_PREDICTION, _GROUND_TRUTH)}


def decode_predictions(records: Sequence[Any]) -> tuple[Predictions, Refused]:
    """Of records with offset, timestamp and value, offsets ascending."""
    chunk = _Chunk(_PREDICTION, records)
    origins: dict[tuple[Any, ...], Origin] = {}
    origin = [origins.get(found) or origins.setdefault(found, Origin(*found)) for found in chunk.tuples(Origin._fields)]
    value, error = chunk.values("value"), chunk.values("error")
    is_error = np.fromiter((reason is not None for reason in error), bool, len(error))
    for row in np.flatnonzero(is_error).tolist():
        value[row] = None
    predictions = Predictions(
        offset=chunk.offsets,
        time=chunk.times,
        request_id=chunk.values("request_id"),
        entity=chunk.values("key"),
        origin=origin,
        routed_at=chunk.numbers("routed_at"),
        requested_at=chunk.numbers("requested_at"),
        scored_at=chunk.numbers("scored_at"),
        batch_index=chunk.numbers("batch_index"),
        batch_size=chunk.numbers("batch_size"),
        model_seconds=chunk.numbers("model_seconds", np.float64),
        value=value,
        is_error=is_error,
    )
    return predictions, chunk.refused


def decode_labels(records: Sequence[Any]) -> tuple[Labels, Refused]:
    """Of records with offset, timestamp and value, offsets ascending."""
    chunk = _Chunk(_GROUND_TRUTH, records)
    labels = Labels(
        offset=chunk.offsets, time=chunk.times, request_id=chunk.values("request_id"), value=chunk.values("value")
    )
    return labels, chunk.refused


class _Chunk:
    """The good ones of the records, a field at a time."""

    def __init__(self, codec: Codec, records: Sequence[Any]) -> None:
        self.refused: Refused = []
        self._all = len(records)
        self._columns: dict[str, Column] = {}
        good = np.zeros(self._all, bool)
        if self._all > _FEW:
            self._columns, good = _READERS[codec].read([record.value or b"" for record in records])
        self._singly: dict[int, dict[str, Any]] = {}
        for row in np.flatnonzero(~good).tolist():
            try:
                self._singly[row] = codec.decode(records[row].value)
                good[row] = True
            except DecodeError as error:
                self.refused.append((records[row], error))
        self._good = good if self.refused else None
        kept = list(compress(records, good)) if self.refused else records
        self.offsets = np.fromiter((record.offset for record in kept), np.int64, len(kept))
        self.times = np.fromiter((record.timestamp for record in kept), np.int64, len(kept))

    def numbers(self, name: str, dtype: npt.DTypeLike = np.int64) -> Any:
        """An array of shape (good ones,)."""
        found: Any = self._columns.get(name, np.zeros(self._all, dtype))
        for row, record in self._singly.items():
            found[row] = record[name]
        return found if self._good is None else found[self._good]

    def values(self, name: str) -> list[Any]:
        """As many as there are good ones."""
        column = self._columns.get(name)
        found = [None] * self._all if column is None else column.tolist()
        for row, record in self._singly.items():
            found[row] = record[name]
        return found if self._good is None else list(compress(found, self._good))

    def tuples(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Of several fields."""
        return zip(*(self.values(name) for name in names), strict=True)
