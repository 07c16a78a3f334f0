"""Values of predictions and labels in columns: a kind and 8 bytes each, equal exactly where Python finds them equal.

True, 1 and 1.0 are the same integer, which remembers its type; integers are exact up to 64 bits; text, and an integer
beyond that no double holds, is its hash. NaN agrees with nothing, but says the same as NaN.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_router.core.evidence import Doubles, Flags, Integers
from stream_router.core.joining.hashes import hashes_of
from stream_router.core.scoring.prediction import Value

NOTHING: Final = 0
_INTEGER: Final = 1
_REAL: Final = 2
_NOT_A_NUMBER: Final = 3
_TEXT: Final = 4
_HUGE: Final = 5

_KIND: Final = 63
_WAS_BOOLEAN: Final = 64
_WAS_DOUBLE: Final = 128
"""Beside the kind of a whole number: its type, which comparing passes over."""

_DOUBLE: Final = struct.Struct("<d")
_INT64: Final = struct.Struct("<q")

_LIMIT: Final = 2.0**63
"""Doubles below it, in absolute terms, that are whole are 64-bit integers."""


class Values(NamedTuple):
    """n values: shape (n,) each. NOTHING is the kind of None."""

    kind: npt.NDArray[np.uint8]
    bits: Integers

    def part(self, chosen: "Integers | Flags | slice") -> "Values":
        return Values(self.kind[chosen], self.bits[chosen])

    def where(self, chosen: Flags, others: "Values") -> "Values":
        """These where chosen, else the others: shape (n,) each."""
        return Values(np.where(chosen, self.kind, others.kind), np.where(chosen, self.bits, others.bits))


def coded(values: Sequence[Value | None]) -> Values:
    """In columns. Raises TypeError for what is none of a boolean, a number, text and None."""
    types = set(map(type, values))
    if len(types) == 1:
        return _of_one_type(types.pop(), values)
    whole = Values(np.zeros(len(values), np.uint8), np.zeros(len(values), np.int64))
    for each in types:
        places = [place for place, value in enumerate(values) if type(value) is each]
        whole.kind[places], whole.bits[places] = _of_one_type(each, [values[place] for place in places])
    return whole


def agree(values: Values, truths: Values) -> Flags:
    """Whether each prediction is right: equal as Python compares values; an error and NaN never are."""
    answered: Flags = (values.kind != NOTHING) & (values.kind != _NOT_A_NUMBER)
    return same(values, truths) & answered


def same(values: Values, others: Values) -> Flags:
    """Whether two labels say the same."""
    alike: Flags = ((values.kind ^ others.kind) & _KIND == NOTHING) & (values.bits == others.bits)
    return alike


def as_doubles(values: Values) -> Doubles:
    """Numbers and truth values as they are, of text the 53 higher bits of its hash; NaN for all else: shape (n,)."""
    kind, bits = values.kind & _KIND, values.bits
    doubles = np.where(kind == _INTEGER, bits, np.nan)
    chosen = kind == _REAL
    doubles[chosen] = bits[chosen].view(np.float64)
    chosen = kind == _TEXT
    doubles[chosen] = (bits[chosen].view(np.uint64) >> np.uint64(11)).astype(np.float64)
    return doubles


def are_texts(values: Values) -> Flags:
    """Which are text: shape (n,), as the answers below."""
    texts: Flags = values.kind == _TEXT
    return texts


def are_hashes(values: Values) -> Flags:
    """Which cannot be told from their 8 bytes."""
    hashes: Flags = values.kind & _KIND >= _TEXT
    return hashes


def are_numbers(values: Values) -> Flags:
    """Which are numbers whose size is known, truth values not among them."""
    kind = values.kind & _KIND
    numbers: Flags = ((kind == _INTEGER) | (kind == _REAL)) & (values.kind & _WAS_BOOLEAN == 0)
    return numbers


def in_text(value: Value | None) -> bytes:
    """What a value is the hash of that `are_hashes`: text in UTF-8, of an integer its hexadecimal digits."""
    return value.encode() if isinstance(value, str) else hex(int(value or 0)).encode()


def in_python(values: Values, hashed: Mapping[int, str]) -> list[Value]:
    """What was coded, of the same types; `hashed`: what hashes are of, as `in_text`.

    Raises KeyError for None, and where `hashed` does not tell of a hash.
    """
    return [
        _in_python(kind, bits, hashed) for kind, bits in zip(values.kind.tolist(), values.bits.tolist(), strict=True)
    ]


def _in_python(kind: int, bits: int, hashed: Mapping[int, str]) -> Value:
    if kind & _WAS_BOOLEAN:
        return bool(bits)
    if kind & _WAS_DOUBLE:
        return float(bits)
    if kind == _INTEGER:
        return bits
    if kind == _REAL:
        double: float = _DOUBLE.unpack(_INT64.pack(bits))[0]
        return double
    if kind == _NOT_A_NUMBER:
        return math.nan
    if kind == NOTHING:
        raise KeyError(None)
    return int(hashed[bits], 16) if kind == _HUGE else hashed[bits]


def _of_one_type(kind: type, values: Sequence[Any]) -> Values:
    count = len(values)
    if issubclass(kind, bool):
        return Values(_all(_INTEGER | _WAS_BOOLEAN, count), np.array(values, np.bool_).astype(np.int64))
    if issubclass(kind, int):
        try:
            return Values(_all(_INTEGER, count), np.array(values, np.int64))
        except OverflowError:
            return _of_any_integers(values)
    if issubclass(kind, float):
        return _of_doubles(np.array(values, np.float64))
    if issubclass(kind, str):
        return Values(_all(_TEXT, count), hashes_of(map(in_text, values)))
    if kind is type(None):
        return Values(_all(NOTHING, count), np.zeros(count, np.int64))
    raise TypeError(f"{values[0]!r} is a {kind.__name__}: a value is a boolean, a number or text")


def _of_doubles(doubles: npt.NDArray[np.float64]) -> Values:
    nothing = np.isnan(doubles)
    whole = (np.floor(doubles) == doubles) & (np.abs(doubles) < _LIMIT)
    kind = np.where(whole, _INTEGER | _WAS_DOUBLE, np.where(nothing, _NOT_A_NUMBER, _REAL)).astype(np.uint8)
    bits = np.where(nothing, 0, doubles.view(np.int64))
    bits[whole] = doubles[whole].astype(np.int64)
    return Values(kind, bits)


def _of_any_integers(values: Sequence[int]) -> Values:
    """Beyond 64 bits: as the double that it equals, else as the hash of its digits."""
    parts = []
    for value in values:
        if -(2**63) <= value < 2**63:
            parts.append(Values(_all(_INTEGER, 1), np.array([value], np.int64)))
        elif abs(value) < 2**1023 and int(float(value)) == value:
            parts.append(_of_doubles(np.array([float(value)])))
        else:
            parts.append(Values(_all(_HUGE, 1), hashes_of([in_text(value)])))
    return Values(np.concatenate([part.kind for part in parts]), np.concatenate([part.bits for part in parts]))


def _all(kind: int, count: int) -> npt.NDArray[np.uint8]:
    return np.full(count, kind, np.uint8)
