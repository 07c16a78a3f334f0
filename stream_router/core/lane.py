"""The lanes of a route."""

from typing import Final, Literal

Lane = Literal["stable", "canary"]

STABLE: Final = "stable"
CANARY: Final = "canary"
LANES: Final[tuple[Lane, Lane]] = (STABLE, CANARY)
