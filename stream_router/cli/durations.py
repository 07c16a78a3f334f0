"""Durations as people write them."""

import re
from typing import Any, Final

import click

_UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")


class DurationType(click.ParamType):
    """Such as 30s, 5m, 2h or 1d, which becomes milliseconds."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = _DURATION.fullmatch(str(value).strip())
        if found is None or found[2] not in _UNITS:
            self.fail(f"{value!r} is not a duration such as 30s, 5m, 2h or 1d", param, ctx)
        return round(float(found[1]) * _UNITS[found[2]])
