"""Whether a prediction is right: equal to the truth, near it, or what the user's own function says."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from stream_router.core.evidence import Flags
from stream_router.core.joining.values import NOTHING, Values, agree, are_numbers, as_doubles
from stream_router.core.joining.vocabulary import Vocabulary
from stream_router.core.policy import Policy
from stream_router.core.scoring.prediction import Value

Bad = Callable[[Value, Value], bool]
"""Whether a prediction is bad, given the truth: a function of these two alone, which raises nothing.

Labels that Python finds equal, as True and 1, are one label: it is asked about the first of them.
"""


class Agreement(Protocol):
    """`bad` of an outcome of accuracy is what is not right."""

    def right(self, values: Values, truths: Values) -> Flags:
        """Whether each prediction is right: shape (n,). An error never is."""


class Exact:
    """Equal as Python compares values; NaN is equal to nothing."""

    def right(self, values: Values, truths: Values) -> Flags:
        """See Agreement."""
        return agree(values, truths)


class Near:
    """Two numbers agree where they differ by the tolerances at most, the larger counts; all else where it is equal."""

    def __init__(self, tolerance: float, relative_tolerance: float) -> None:
        """The relative one is a part of the truth."""
        self._tolerance, self._relative = tolerance, relative_tolerance

    def right(self, values: Values, truths: Values) -> Flags:
        """See Agreement."""
        right = agree(values, truths)
        places = np.flatnonzero(~right & are_numbers(values) & are_numbers(truths))
        value, truth = as_doubles(values.part(places)), as_doubles(truths.part(places))
        with np.errstate(over="ignore", invalid="ignore"):  # beside an infinite number nothing is near
            most = np.maximum(self._tolerance, self._relative * np.abs(truth))
            near = (np.abs(value - truth) <= most) & np.isfinite(truth)
        right[places[near]] = True
        return right


class Judged:
    """What the user's function says, of values as they were before they were coded."""

    def __init__(self, bad: Bad, vocabulary: Vocabulary) -> None:
        self._bad, self._vocabulary = bad, vocabulary

    def right(self, values: Values, truths: Values) -> Flags:
        """See Agreement. An error is bad without asking."""
        right = np.zeros(len(values.kind), np.bool_)
        places = np.flatnonzero(values.kind != NOTHING)
        answered, told = self._vocabulary.told(values.part(places)), self._vocabulary.told(truths.part(places))
        for place, value, truth in zip(places.tolist(), answered, told, strict=True):
            right[place] = not self._bad(value, truth)
        return right


def agreement(policy: Policy, bad: Bad | None, vocabulary: Vocabulary | None) -> Agreement:
    """As the policy says; `bad` is what it names, asked by what the vocabulary has learned.

    Raises ValueError where the policy names one and none is given.
    """
    if bad is not None and vocabulary is not None:
        return Judged(bad, vocabulary)
    if policy.bad is not None:
        raise ValueError(f"the policy has predictions judged by {policy.bad}, which was not loaded")
    if policy.tolerance > 0 or policy.relative_tolerance > 0:
        return Near(policy.tolerance, policy.relative_tolerance)
    return Exact()
