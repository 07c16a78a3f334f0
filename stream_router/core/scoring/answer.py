"""What a model returned, as values that a prediction can carry."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from stream_router.core.scoring.prediction import Value

_LONG: Final = 2**63


class Answer(NamedTuple):
    """One of the two is None."""

    value: Value | None
    error: str | None


def answers_of(returned: Any, count: int) -> list[Answer]:
    """One answer for each of `count` rows; a numpy array, a list or any other sequence may have been returned."""
    plain = returned.tolist() if hasattr(returned, "tolist") else returned
    if isinstance(plain, str | bytes) or not isinstance(plain, Sequence):
        return [Answer(None, f"the model returned {type(returned).__name__}, not a sequence")] * count
    if len(plain) != count:
        return [Answer(None, f"the model returned {len(plain)} predictions for {count} rows")] * count
    return [_answer_of(value) for value in plain]


def raised(error: Exception) -> Answer:
    return Answer(None, writable(f"{type(error).__name__}: {error}")[:500])


def writable(text: str) -> str:
    """The text with lone surrogates, which no encoding can carry, spelt out."""
    return text.encode(errors="backslashreplace").decode()


def _answer_of(value: Any) -> Answer:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, str) and value != writable(value):
        return Answer(None, f"the prediction {writable(value)!r} is not Unicode text: it has a lone surrogate")
    if isinstance(value, bool | float | str):
        return Answer(value, None)
    if isinstance(value, int):
        return Answer(value, None) if -_LONG <= value < _LONG else Answer(None, "the prediction is over 64 bits")
    return Answer(None, f"the prediction is {type(value).__name__}, not a boolean, a number or text")
