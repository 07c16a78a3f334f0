"""Outcomes that came about since they were last written."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream_router.core.evidence import Flags, Integers, OutcomeKey, Outcomes
from stream_router.core.joining.counting import Cells

_COLUMNS: Final = ("cell", "entity", "order", "delay", "time", "bad")


class NewOutcomes:
    """Outcomes of one metric that are bad or not."""

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in _COLUMNS}

    def add(
        self, *, cell: Integers, entity: Integers, order: Integers, delay: Integers, time: Integers, bad: Flags
    ) -> None:
        """Columns of shape (n,), as in Outcomes; `cell`: the numbers of their cells."""
        for name, column in zip(self._parts, (cell, entity, order, delay, time, bad), strict=True):
            self._parts[name].append(column)

    def take(self, cells: Cells) -> tuple[Outcomes, ...]:
        """All since the last call, by cell, in the order in which they came."""
        if not self._parts["cell"]:
            return ()
        columns: dict[str, npt.NDArray[Any]] = {name: np.concatenate(parts) for name, parts in self._parts.items()}
        self._parts = {name: [] for name in _COLUMNS}
        order = np.argsort(columns["cell"], kind="stable")
        columns = {name: column[order] for name, column in columns.items()}
        numbers = columns.pop("cell")
        ends = (np.flatnonzero(np.diff(numbers)) + 1).tolist()
        return tuple(
            Outcomes(
                key=OutcomeKey(*cells[int(numbers[first])], self._metric),
                **{name: column[first:last] for name, column in columns.items()},
            )
            for first, last in zip([0, *ends], [*ends, len(numbers)], strict=True)
        )
