"""Durations on the command line."""

from typing import Any

import click

from stream_router.core.durations import FORM, milliseconds_of


class DurationType(click.ParamType):
    """Such as 30s, 5m, 2h or 1d, which becomes milliseconds."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return milliseconds_of(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a duration such as {FORM}", param, ctx)
