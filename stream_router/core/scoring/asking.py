"""Asking a model about a batch in which some rows may be poor, or all, since a service behind the model is down."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stream_router.core.scoring.model_output import ModelOutput, outputs_of, raised

Row = dict[str, Any]
Predict = Callable[[list[Row]], Sequence[Any]]

GIVE_UP_AFTER: Final = 5
"""Rows in a row that fail alone in the same way: the rest then gets their error, where its last row fails so, too."""


def ask(predict: Predict, rows: Sequence[Row]) -> list[ModelOutput]:
    """One output a row; a batch that raises is halved until each poor row stands alone.

    One poor row of n costs 2 log2(n) more calls; where all fail, GIVE_UP_AFTER + log2(n) or so are made.
    """
    return _Asking(predict, rows).outputs()


@dataclass(frozen=True)
class _Failure:
    """`place`: what was raised and where, whatever the message quotes of the row."""

    place: tuple[object, ...]
    output: ModelOutput


class _Asking:
    def __init__(self, predict: Predict, rows: Sequence[Row]) -> None:
        self._predict, self._rows = predict, rows
        self._outputs: list[ModelOutput] = []
        self._alike: list[_Failure] = []

    def outputs(self) -> list[ModelOutput]:
        """Spans wait on a stack, the first one on top, so that outputs come in the order of the rows."""
        waiting = [(0, len(self._rows))] if self._rows else []
        while waiting:
            start, end = waiting.pop()
            answer = self._ask(start, end)
            if isinstance(answer, list):
                self._outputs += answer
                self._alike.clear()
            elif end - start > 1:
                middle = (start + end) // 2
                waiting += [(middle, end), (start, middle)]
            else:
                self._outputs.append(answer.output)
                self._alike = [*(self._alike if self._is_alike(answer) else []), answer]
                if waiting and len(self._alike) >= GIVE_UP_AFTER and self._last_row_fails_alike():
                    return self._outputs + [answer.output] * (len(self._rows) - end)
        return self._outputs

    def _is_alike(self, failure: _Failure) -> bool:
        return bool(self._alike) and self._alike[-1].place == failure.place

    def _last_row_fails_alike(self) -> bool:
        """Poor rows often come together, from one producer: the last row tells those from a service that is down."""
        answer = self._ask(len(self._rows) - 1, len(self._rows))
        if isinstance(answer, _Failure) and self._is_alike(answer):
            return True
        self._alike.clear()
        return False

    def _ask(self, start: int, end: int) -> list[ModelOutput] | _Failure:
        try:
            return outputs_of(self._predict(list(self._rows[start:end])), end - start)
        except Exception as error:  # noqa: BLE001 - the model is the user's code, and errors are evidence
            return _Failure(_place_of(error), raised(error))


def _place_of(error: Exception) -> tuple[object, ...]:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (type(error), trace and trace.tb_frame.f_code, trace and trace.tb_lineno)
