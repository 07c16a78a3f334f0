"""Outcomes that came about since they were last written."""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_router.core.evidence import Doubles, Flags, Integers, OutcomeKey, Outcomes
from stream_router.core.joining.counting import Cells


class Requests(NamedTuple):
    """n requests in columns of shape (n,): the numbers of their cells, and hashes of entity and id.

    `routed_at` in milliseconds since the epoch; `late`: scored too late to be an answer.
    """

    cell: Integers
    entity: Integers
    order: Integers
    routed_at: Integers
    late: Flags

    def part(self, chosen: "Integers | Flags") -> "Requests":
        """Those at the chosen places."""
        cell, entity, order, routed_at, late = self
        return Requests(cell[chosen], entity[chosen], order[chosen], routed_at[chosen], late[chosen])


_COLUMNS: Final = ("cell", "entity", "order", "delay", "time", "bad", "value")


class NewOutcomes:
    """Outcomes of one kind: `has_bad`, `has_value` say what each of them has."""

    def __init__(self, kind: str, *, has_bad: bool, has_value: bool) -> None:
        self._kind = kind
        self._names = [name for name in _COLUMNS if {"bad": has_bad, "value": has_value}.get(name, True)]
        self._parts: list[tuple[npt.NDArray[Any], ...]] = []

    def add(
        self, requests: Requests, time: Integers, *, bad: Flags | None = None, value: Doubles | None = None
    ) -> None:
        """One of each request, known at `time` (ms since the epoch), which the routing is not later than."""
        if len(time):
            delay = np.maximum(time - requests.routed_at, 0)
            columns = (requests.cell, requests.entity, requests.order, delay, time, bad, value)
            self._parts.append(tuple(column for column in columns if column is not None))

    def take(self, cells: Cells) -> list[Outcomes]:
        """All since the last call, by cell, in the order in which they came."""
        if not self._parts:
            return []
        columns: dict[str, npt.NDArray[Any]] = {
            name: np.concatenate(parts) for name, parts in zip(self._names, zip(*self._parts, strict=True), strict=True)
        }
        self._parts = []
        order = np.argsort(columns["cell"], kind="stable")
        columns = {"bad": None, **{name: column[order] for name, column in columns.items()}}  # type: ignore[dict-item]
        numbers = columns.pop("cell")
        ends = (np.flatnonzero(np.diff(numbers)) + 1).tolist()
        return [
            Outcomes(
                key=OutcomeKey(*cells[int(numbers[first])], self._kind),
                **{name: None if column is None else column[first:last] for name, column in columns.items()},
            )
            for first, last in zip([0, *ends], [*ends, len(numbers)], strict=True)
        ]
