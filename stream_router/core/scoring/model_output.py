"""What a model returned, as values that a prediction can carry."""

from collections.abc import Sequence
from math import isfinite
from typing import Any, Final, NamedTuple

from stream_router.core.scoring.prediction import Value

_LONG: Final = 2**63

LONGEST_TEXT: Final = 65_536
"""Bytes in UTF-8 of a text that a model may return."""

LONGEST_ERROR: Final = 500
"""Characters of an error in a prediction."""


class ModelOutput(NamedTuple):
    """One of the two is None."""

    value: Value | None
    error: str | None


def outputs_of(returned: Any, count: int) -> list[ModelOutput]:
    """One output for each of `count` rows; a numpy array, a list or any other sequence may have been returned.

    Values are plain: of a subclass, such as an enumeration's, only what is in it.
    """
    plain = returned.tolist() if hasattr(returned, "tolist") else returned
    if isinstance(plain, str | bytes) or not isinstance(plain, Sequence):
        return [ModelOutput(None, f"the model returned {type(returned).__name__}, not a sequence")] * count
    if len(plain) != count:
        return [ModelOutput(None, f"the model returned {len(plain)} predictions for {count} rows")] * count
    return [_output_of(value) for value in plain]


def raised(error: BaseException) -> ModelOutput:
    return failed(f"{type(error).__name__}: {error}")


def failed(why: str) -> ModelOutput:
    """No prediction; `why` may be of any length."""
    return ModelOutput(None, writable(why[:LONGEST_ERROR])[:LONGEST_ERROR])


def writable(text: str) -> str:
    """The text with lone surrogates, which no encoding can carry, spelt out."""
    return text.encode(errors="backslashreplace").decode()


def _output_of(value: Any) -> ModelOutput:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, str):
        return _text_of(value)
    if isinstance(value, float) and not isfinite(value):
        return ModelOutput(None, f"the prediction is {value}, not a number")
    if isinstance(value, bool):
        return ModelOutput(value, None)
    if isinstance(value, float):
        return ModelOutput(float.__float__(value), None)
    if isinstance(value, int):
        return (
            ModelOutput(int.__int__(value), None)
            if -_LONG <= value < _LONG
            else ModelOutput(None, "the prediction is over 64 bits")
        )
    return ModelOutput(None, f"the prediction is {type(value).__name__}, not a boolean, a number or text")


def _text_of(value: str) -> ModelOutput:
    if len(value) > LONGEST_TEXT or len(writable(value).encode()) > LONGEST_TEXT:
        return ModelOutput(None, f"the prediction is text of more than {LONGEST_TEXT} bytes")
    if value != writable(value):
        return failed(f"the prediction {writable(value)!r} is not Unicode text: it has a lone surrogate")
    return ModelOutput(str.__str__(value), None)
