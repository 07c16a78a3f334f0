"""Predicted texts, as far as a person needs them to read what evidence says of their hashes."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from stream_router.core.evidence import Integers
from stream_router.core.joining.values import Values, are_texts, as_doubles
from stream_router.core.scoring.prediction import Value

MOST: Final = 100
"""Texts that are told: a model with more answers is not read class by class."""

LONGEST: Final = 100
"""Characters of a text: what comes after them is not told."""


class NewTexts:
    """Each is told once a rollout: who reads R.evidence from the rollout's first record on knows them all."""

    def __init__(self) -> None:
        self._rollout = 0
        self._told: set[float] = set()
        self._new: dict[float, str] = {}

    def note(self, coded: Values, values: Sequence[Value | None], places: Integers, rollout: int) -> None:
        """Predictions as coded, shape (n,); as they are they stand among the values at these places.

        `rollout`: the latest of theirs.
        """
        if rollout > self._rollout:
            self._rollout, self._told = rollout, set()
        if len(self._told) >= MOST:
            return
        texts = np.flatnonzero(are_texts(coded))
        codes, first = np.unique(as_doubles(coded.part(texts)), return_index=True)
        for code, place in zip(codes.tolist(), places[texts[first]].tolist(), strict=True):
            if code not in self._told and len(self._told) < MOST:
                self._told.add(code)
                self._new[code] = str(values[place])[:LONGEST]

    def take(self) -> Mapping[float, str]:
        """Those since the last call, by their codes."""
        taken, self._new = self._new, {}
        return taken
