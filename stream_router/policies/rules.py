"""Kinds of values in settings and policy files, and how a rule that one breaks is told with its place."""

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from stream_router.core.durations import FORM, PATTERN, milliseconds_of

_LONGEST: Final = 315_360_000
"""Seconds: ten years."""

_MOST: Final = 1_000_000_000_000
"""Of anything that is counted."""

_RATIO: Final = "expected a ratio of 0 to 1"


def broken(says: str, *place: str | int) -> PydanticCustomError:
    """The error of a validator; `place` leads from the value that it looks at to the part that is wrong."""
    return PydanticCustomError("rule", "{says}", {"says": says, "place": place})


def seconds_of(value: Any, *others: str) -> float:
    """A number is seconds; a text is a number or has a unit. Raises what `broken` gives; `others` may stand, too."""
    form = ", or ".join((f"such as {FORM}", *others))
    if isinstance(value, str):
        number = _number(value)
        value = _with_unit(value) if number is None else number
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise broken(f"expected a duration {form}")
    if not 0 <= value <= _LONGEST:
        raise broken(f"expected a duration from 0 to ten years, {form}")
    return float(value)


def _duration(value: Any) -> float:
    return seconds_of(value)


def _with_unit(text: str) -> float | None:
    try:
        return milliseconds_of(text) / 1000
    except ValueError:
        return None


def ratio_of(value: Any) -> float:
    """A number from 0 to 1; who writes percent is told the ratio. Raises what `broken` gives."""
    number = _number(value.removesuffix("%")) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise broken(f"{_RATIO}, such as 0.05 for 5 %")
    if 1 < number <= 100 or (isinstance(value, str) and value.endswith("%") and number >= 0):  # noqa: PLR2004 - percent
        raise broken(f"{_RATIO}: {number / 100:.6g} for {number:g} %")
    if not 0 <= number <= 1:
        raise broken(f"{_RATIO}, such as 0.05 for 5 %")
    return float(number)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


SecondsOrText = Annotated[float, Field(ge=0)] | Annotated[str, Field(pattern=f"^{PATTERN}$")]
"""How a duration is written."""

Duration = Annotated[
    float,
    BeforeValidator(
        _duration,
        json_schema_input_type=SecondsOrText,
    ),
]
"""Seconds, ten years at most."""

Ratio = Annotated[float, BeforeValidator(ratio_of, json_schema_input_type=Annotated[float, Field(ge=0, le=1)])]

Count = Annotated[int, Field(strict=True, ge=1, le=_MOST)]
