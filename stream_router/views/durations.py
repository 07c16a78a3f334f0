"""Durations as people read them."""

from typing import Final

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def duration_text(seconds: float) -> str:
    """Two units at most: "2 h 5 min", "45 s", "0.2 s"."""
    if seconds < 1:
        return f"{seconds:.1g} s"
    left, parts = round(seconds), list[tuple[int, str]]()
    for number, (size, unit) in enumerate(_UNITS):
        if left >= size or parts:
            smaller = _UNITS[number + 1][0] if number + 1 < len(_UNITS) and not parts else size
            left = round(left / smaller) * smaller
            parts.append((left // size, unit))
            left %= size
        if len(parts) == 2:  # noqa: PLR2004 - units
            break
    return " ".join(f"{count} {unit}" for count, unit in parts if count)
