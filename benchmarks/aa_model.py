"""The model of both lanes in aa.py, and the truth about what it answers: some keys are harder than others."""

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

ERROR: Final = 0.002
"""Of the requests it raises on this fraction; those it answers wrongly are between none and a fifth, by key."""

_MOST_WRONG: Final = 0.2
_SECONDS: Final = 0.002
"""Of one call, beside what its rows take."""


def load(_version: str) -> Callable[[Sequence[Any]], list[bool]]:
    """Every version answers alike."""

    def predict(rows: Sequence[Mapping[str, Any]]) -> list[bool]:
        time.sleep(_SECONDS + 2e-6 * len(rows))
        if any(fraction(row["request_id"], "error") < ERROR for row in rows):
            if len(rows) > 1:
                raise ValueError("one of the rows is not scored")
            raise ValueError("this row is not scored")
        return [True] * len(rows)

    return predict


def truth(request_id: str, key: str) -> bool:
    """Whether the answer, which is always yes, is right."""
    return fraction(request_id, "truth") >= _MOST_WRONG * fraction(key, "key")


def fraction(text: str, salt: str) -> float:
    """Even in 0..1, and the same for the same text."""
    return zlib.crc32(text.encode(), zlib.crc32(salt.encode())) / 2**32
