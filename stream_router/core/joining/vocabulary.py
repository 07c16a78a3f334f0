"""What hashes of values stand for, where the user's function asks for the values themselves."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream_router.core.evidence import Integers
from stream_router.core.joining.table import NO_ROW, Keys, Table
from stream_router.core.joining.values import Values, are_hashes, in_python, in_text
from stream_router.core.scoring.prediction import Value

_FEW: Final = 1024
_COLUMNS: Final = {"start": np.int64, "length": np.int32}
_BYTES: Final = "text.bytes"


class Vocabulary:
    """What the hashes of rows and of labels that wait stand for.

    All texts lie behind each other in one array of bytes, so that one costs 43 bytes beside its UTF-8, no object, and
    a copy of a million 0.1 s.
    """

    def __init__(self) -> None:
        self._table, self._bytes = Table(_COLUMNS), bytearray()
        self._most = _FEW

    def __len__(self) -> int:
        return len(self._table)

    def learn(self, values: Values, told: Sequence[Value | None]) -> None:
        """Values that come to be held, as coded and as they are: shape (n,) and n."""
        places = np.flatnonzero(are_hashes(values))
        bits, first = np.unique(values.bits[places], return_index=True)
        is_new = self._table.find(_keys(bits)) == NO_ROW
        if is_new.any():
            texts = [in_text(told[place]) for place in places[first[is_new]].tolist()]
            self._add(bits[is_new], np.array(list(map(len, texts)), np.int64), b"".join(texts))

    def told(self, values: Values) -> list[Value]:
        """What was learned, of the same types. Raises KeyError for what was not, and for None."""
        bits, (starts, ends) = values.bits[are_hashes(values)], self._spans(self._rows(values))
        texts = [self._bytes[start:end].decode() for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        return in_python(values, dict(zip(bits.tolist(), texts, strict=True)))

    @property
    def is_due(self) -> bool:
        """Whether it has grown so much that it is time to `keep` what is still held."""
        return len(self._table) > self._most

    def keep(self, *held: Values) -> None:
        """Forget all that is not among them. Raises KeyError for what was not learned."""
        rows = np.unique(np.concatenate([self._rows(values) for values in held]))
        state = self._state(rows)
        self._table, self._bytes = Table(_COLUMNS), bytearray()
        self.restore(state)

    def state(self) -> Mapping[str, npt.NDArray[Any]]:
        """Arrays for `restore`."""
        return self._state(np.arange(len(self._table)))

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """What `state` gave, into an empty one. Raises KeyError where it is none."""
        self._add(state["text.hash"], state["text.length"], state[_BYTES].tobytes())
        self._most = max(_FEW, 2 * len(self._table))

    def _add(self, bits: Integers, lengths: Integers, text: bytes) -> None:
        """New texts that lie behind each other, by hash and length."""
        ends = len(self._bytes) + np.cumsum(lengths, dtype=np.int64)
        self._table.insert(_keys(bits), {"start": ends - lengths, "length": lengths})
        self._bytes += text

    def _rows(self, values: Values) -> Integers:
        """Of the hashes among them."""
        bits = values.bits[are_hashes(values)]
        rows = self._table.find(_keys(bits))
        if (rows == NO_ROW).any():
            raise KeyError(int(bits[rows == NO_ROW][0]))
        return rows

    def _spans(self, rows: Integers) -> tuple[Integers, Integers]:
        """Where the text of each row begins and ends."""
        starts = self._table["start"][rows]
        return starts, starts + self._table["length"][rows]

    def _state(self, rows: Integers) -> Mapping[str, npt.NDArray[Any]]:
        """Of some rows, in their order, which is that of their texts: none is ever removed."""
        starts, ends = self._spans(rows)
        gaps = np.flatnonzero(starts[1:] != ends[:-1])  # what lies without one is copied at once
        runs = (
            zip(starts[np.r_[0, gaps + 1]].tolist(), ends[np.r_[gaps, -1]].tolist(), strict=True) if len(rows) else ()
        )
        with memoryview(self._bytes) as text:
            kept = b"".join([text[start:end] for start, end in runs])
        return {
            "text.hash": self._table.keys(rows)[:, 1].view(np.int64),
            "text.length": self._table["length"][rows].astype(np.int64),
            _BYTES: np.frombuffer(kept, np.uint8),
        }


def _keys(bits: Integers) -> Keys:
    return np.stack([bits, bits], axis=1).view(np.uint64)
