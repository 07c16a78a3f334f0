"""Records of one Avro schema read in columns: a field of all of them at a time, with numpy, not one after the other.

It never accepts what is not exactly one record, since each is read within its own bounds. Some good ones it leaves to
the codec, as those with numbers of more than 8 bytes: they are rare.
https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from stream_router.core.evidence import Doubles, Flags, Integers

_WORD: Final = 8
_BEYOND: Final = 64
"""Places behind the end at which words can be read, more than a head is long: what they hold is never used."""

_LAST_OF_NUMBER: Final = np.uint64(0x80)
_SEVENS: Final = np.uint64(0x7F7F7F7F7F7F7F7F)
_EIGHTHS: Final = np.uint64(0x8080808080808080)
_ASCII: Final = 0x7F
_ONE: Final = np.uint64(1)
_JOINS: Final = tuple(
    (np.uint64(low), np.uint64(high), np.uint64(shift))
    for low, high, shift in (
        (0x007F007F007F007F, 0x7F007F007F007F00, 1),
        (0x00003FFF00003FFF, 0x3FFF00003FFF0000, 2),
        (0x000000000FFFFFFF, 0x0FFFFFFF00000000, 4),
    )
)
"""Halves that become one: groups of 7 bits in bytes, then of 14 in pairs of bytes, then of 28 in fours."""


@dataclass(frozen=True, slots=True)
class Spans:
    """Bytes or texts, where they lie in the source; what is not ASCII stands in `decoded`, by row."""

    source: bytes | str
    starts: Integers
    stops: Integers
    decoded: dict[int, str]

    def tolist(self) -> list[Any]:
        source = self.source
        found: list[Any] = [source[a:b] for a, b in zip(self.starts.tolist(), self.stops.tolist(), strict=True)]
        for row, text in self.decoded.items():
            found[row] = text
        return found


@dataclass(frozen=True, slots=True)
class Choices:
    """Values of a union: of each branch that occurs its rows and their column, None where it holds nulls."""

    rows: int
    branches: list[tuple[Integers, "Column | None"]]

    def tolist(self) -> list[Any]:
        for rows, column in self.branches:
            if column is not None and len(rows) == self.rows:
                return column.tolist()
        found = np.full(self.rows, None, object)
        for rows, column in self.branches:
            if column is not None:
                found[rows] = column.tolist()
        return found.tolist()


Column = Integers | Doubles | Flags | Spans | Choices
"""Values of a field, a row each: `tolist()` gives them as Python's own."""


class ColumnReader:
    """Of a record of numbers, booleans, texts, bytes and unions of these; `head`, 8 bytes or more, precedes each."""

    def __init__(self, schema: Mapping[str, Any], head: bytes) -> None:
        self._fields = [(field["name"], field["type"]) for field in schema["fields"]]
        self._head = head

    def read(self, encoded: Sequence[bytes]) -> tuple[dict[str, Column], Flags]:
        """Each field's column, and of which rows it holds what was written, shape (n,): those begin with the head."""
        rows = _Rows(encoded, self._head)
        columns = {name: rows.read(kind) for name, kind in self._fields}
        return columns, rows.good & (rows.at == rows.ends)


class _Source:
    """All bytes, in several views."""

    def __init__(self, data: bytes) -> None:
        padded = data + bytes(_BEYOND + _WORD)
        self.data, self.text = data, data.decode("latin-1")
        self.words = np.ndarray((len(data) + _BEYOND,), "<u8", padded, strides=(1,))
        self.doubles = np.ndarray((len(data) + _BEYOND,), "<f8", padded, strides=(1,))
        self.above_ascii = np.zeros(len(data) + 1, np.int32)
        np.cumsum(np.frombuffer(data, np.uint8) > _ASCII, out=self.above_ascii[1:])


class _Rows:
    """Records in one source, each read up to `at`, which never passes its end; what one not `good` gives is noise."""

    def __init__(self, encoded: Sequence[bytes], head: bytes) -> None:
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        self.source = _Source(b"".join(encoded))
        self.ends = np.cumsum(lengths)
        self.at = self.ends - lengths
        self.good = lengths >= len(head)
        for place in (0, len(head) - _WORD):
            self.good &= self.source.words[self.at + place] == np.frombuffer(head, "<u8", 1, place)
        self.at = np.where(self.good, self.at + len(head), self.ends)

    def read(self, kind: Any) -> Column:
        """The next field of all."""
        if isinstance(kind, list):
            return self._choices(kind)
        match kind:
            case "int" | "long":
                return self._numbers()
            case "double":
                doubles: Doubles = self.source.doubles[self.at]
                self._advance(np.int64(_WORD))
                return doubles
            case "boolean":
                octets = self.source.words[self.at] & np.uint64(0xFF)
                self._advance(np.int64(1))
                self.good &= octets <= _ONE
                flags: Flags = octets == _ONE
                return flags
            case "bytes" | "string":
                return self._spans(text=kind == "string")
        raise TypeError(f"a field of Avro type {kind!r} is not read in columns")

    def _advance(self, by: Integers | np.int64) -> None:
        fits = by <= self.ends - self.at
        if not fits.all():
            self.good &= fits
            by = np.where(fits, by, self.ends - self.at)
        self.at = self.at + by

    def _numbers(self) -> Integers:
        """Zigzag, in up to 8 bytes of which all but the last have the highest bit set."""
        words = self.source.words[self.at]
        if not (words & _LAST_OF_NUMBER).any():
            values = words & np.uint64(0x7F)
            self._advance(np.int64(1))
        else:
            ends = ~words & _EIGHTHS
            if not ends.all():
                self.good &= ends != 0
            used = ends ^ (ends - _ONE)  # all bits up to the lowest that is set
            values = words & used & _SEVENS
            for low, high, shift in _JOINS:
                values = (values & low) | ((values & high) >> shift)
            self._advance(np.bitwise_count(used).astype(np.int64) >> 3)
        signed = values.view(np.int64)
        numbers: Integers = (signed >> 1) ^ -(signed & 1)
        return numbers

    def _spans(self, *, text: bool) -> Spans:
        lengths = self._numbers()
        if (lengths < 0).any():
            self.good &= lengths >= 0
            lengths = np.maximum(lengths, 0)
        starts = self.at
        self._advance(lengths)
        if not text:
            return Spans(self.source.data, starts, self.at, {})
        above, decoded = self.source.above_ascii, {}
        for row in np.flatnonzero(above[starts] != above[self.at]).tolist():
            try:
                decoded[row] = self.source.data[starts[row] : self.at[row]].decode()
            except UnicodeDecodeError:
                self.good[row] = False
        return Spans(self.source.text, starts, self.at, decoded)

    def _choices(self, kinds: list[Any]) -> Choices:
        chosen, rows = self._numbers(), len(self.at)
        self.good &= (chosen >= 0) & (chosen < len(kinds))
        branches: list[tuple[Integers, Column | None]] = []
        for number, kind in enumerate(kinds):
            those = np.flatnonzero(chosen == number)
            if kind == "null" or not those.size:
                column = None
            elif those.size == rows:
                column = self.read(kind)
            else:
                column = self._of_some(those, kind)
            if those.size:
                branches.append((those, column))
        return Choices(rows, branches)

    def _of_some(self, those: Integers, kind: Any) -> Column:
        part = object.__new__(_Rows)
        part.source, part.at, part.ends, part.good = self.source, self.at[those], self.ends[those], self.good[those]
        column = part.read(kind)
        self.at[those], self.good[those] = part.at, part.good
        return column
