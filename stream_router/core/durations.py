"""Durations as people write them: `30s`, `5m`, `2h`, `1d`."""

import re
from typing import Final

FORM: Final = "30s, 5m, 2h or 1d"
"""For messages."""

PATTERN: Final = r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(ms|s|min|m|h|d)"
"""A regular expression; the digits are limited so that each number is one."""

_UNITS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "min": 60_000, "s": 1_000, "ms": 1}
"""Milliseconds of each, the largest first."""


def milliseconds_of(text: str) -> int:
    """Raises ValueError, which tells the right form."""
    found = re.fullmatch(PATTERN, text.strip(), re.ASCII)
    if found is None:
        raise ValueError(f"expected a duration such as {FORM}")
    return round(float(found[1]) * _UNITS[found[2]])


def duration_of(milliseconds: int) -> str:
    """The same duration in the largest unit that gives a whole number: `90s`, `2h`."""
    unit = next(unit for unit, size in _UNITS.items() if milliseconds % size == 0)
    return f"{milliseconds // _UNITS[unit]}{unit}" if milliseconds else "0s"
