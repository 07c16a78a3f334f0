"""Prediction mix: which answers the lanes give, compared before any label is there.

Lanes are drawn at random, so both should predict each class equally often, and numbers above a bound equally often. It
says that the models differ, never which is right: an early word to a person.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from stream_router.core.deciding.blocks import Block
from stream_router.core.deciding.metrics.two_sided import TwoSided, level, rates
from stream_router.core.deciding.metrics.words import is_unknown, unknown
from stream_router.core.deciding.numbers import Numbers, Totals
from stream_router.core.deciding.rows import Rows
from stream_router.core.evidence import PREDICTION, RolloutStarted
from stream_router.core.policy import MetricName, Policy

Values = npt.NDArray[np.float64]

LEARNT: Final = 1_000
"""Predictions of stable that are learnt from: the classes from the first ones, a median from the newest ones."""

MAX_CLASSES: Final = 32
"""Of more values, numbers are compared with a median, and texts are the most frequent ones and "other"."""

_LARGE: Final = 2.0**48
_LARGEST: Final = 2.0**53


@dataclass(frozen=True)
class PredictionMix:
    """See Metric."""

    name: MetricName = "prediction_mix"
    kind: str = PREDICTION
    unit: Literal["request"] = "request"
    known: Literal["prediction"] = "prediction"

    def test(self, started: RolloutStarted, texts: Mapping[float, str]) -> "MixTest":
        return MixTest(started.policy, level(started.policy, self.name), texts)


class MixTest:
    """See MetricTest: a mean of two-sided tests, one a class or a single one of numbers.

    Null: both lanes' predictions are draws of the same. All tests read the same blocks, so the mean of their K e-values
    is an e-value, too, and each one's own bets are capped where it alone decides, at K / alpha. Until stable has shown
    enough, nothing is bet. An error has no prediction, and is error rate's.
    """

    def __init__(self, policy: Policy, alpha: float, texts: Mapping[float, str]) -> None:
        self._alpha = alpha
        self._max_labels = policy.max_labels
        self._texts = texts
        self._newest: Values = np.empty(0)
        self._classes: Values | None = None
        """None until known; empty: numbers. In order, "other" being one more behind the last."""
        self._tests: list[TwoSided] = []
        self._totals: list[Totals] = []

    def update(self, block: Block) -> None:
        if self.unhealthy:
            return
        stable, canary = _predictions(block.stable), _predictions(block.canary)
        if self._classes is not None:
            self._bet(self._counts(stable), self._counts(canary))
        self._learn(stable)

    @property
    def unhealthy(self) -> bool:
        return any(test.unhealthy for test in self._tests) or self.mean >= self.threshold

    @property
    def e_value(self) -> float:
        return self.threshold if self.unhealthy else self.mean

    @property
    def mean(self) -> float:
        """The e-value, not cut off."""
        return sum(test.mean for test in self._tests) / len(self._tests) if self._tests else 1.0

    @property
    def threshold(self) -> float:
        return 1.0 / self._alpha

    @property
    def numbers(self) -> Numbers:
        """Of the class that differs most by the evidence: bad is what it is counted for."""
        totals = self._totals[self._first] if self._tests else Totals()
        return totals.numbers(self.e_value, self.threshold)

    def sentence(self, stable: str, canary: str) -> str:
        if self._classes is None:
            return (
                f"nothing is known yet of {canary} against {stable}: {len(self._newest):,} of the {LEARNT:,} "
                "predictions of stable that its usual ones are learnt from"
            )
        numbers = self.numbers
        if is_unknown(numbers):
            return unknown(numbers, stable, canary, "predictions")
        what, shown = self._name(self._first), rates(numbers, "predictions")
        if not self.unhealthy:
            return f"{canary} is not shown to predict otherwise than {stable}, least alike in {what}: {shown}"
        often = "more" if self._tests[self._first].more else "less"
        return f"{canary} predicts {what} {often} often than {stable}: {shown}"

    def state(self) -> dict[str, Any]:
        return {
            "newest": self._newest,
            "classes": self._classes,
            "tests": [test.state() for test in self._tests],
            "totals": [asdict(totals) for totals in self._totals],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._newest = np.asarray(state["newest"], np.float64)
        self._classes = None if state["classes"] is None else np.asarray(state["classes"], np.float64)
        self._begin(len(state["tests"]))
        for test, its_state in zip(self._tests, state["tests"], strict=True):
            test.restore(its_state)
        self._totals = [Totals(**sums) for sums in state["totals"]]

    @property
    def _first(self) -> int:
        """The test with the largest e-value."""
        return max(range(len(self._tests)), key=lambda one: self._tests[one].e_value)

    def _begin(self, tests: int) -> None:
        self._tests = [TwoSided(alpha=self._alpha / tests, max_labels=self._max_labels) for _ in range(tests)]
        self._totals = [Totals() for _ in range(tests)]

    def _counts(self, values: Values) -> tuple[int, list[int]]:
        """Predictions, and of these the bad ones of each test."""
        classes = self._classes
        if classes is None or not len(classes):
            return len(values), [int(np.count_nonzero(values > np.median(self._newest)))]
        place = np.minimum(np.searchsorted(classes, values), len(classes) - 1)
        place[classes[place] != values] = len(classes)
        return len(values), np.bincount(place, minlength=len(classes) + 1).tolist()

    def _bet(self, stable: tuple[int, list[int]], canary: tuple[int, list[int]]) -> None:
        (n_a, bad_a), (n_b, bad_b) = stable, canary
        for test, totals, e_a, e_b in zip(self._tests, self._totals, bad_a, bad_b, strict=True):
            test.update(n_a, n_b, e_a, e_b)
            totals.add(n_a, e_a, n_b, e_b)

    def _learn(self, stable: Values) -> None:
        """From a block that was bet on, or came too early for that."""
        if self._classes is not None:
            if not len(self._classes):
                self._newest = np.concatenate((self._newest, stable))[-LEARNT:]
            return
        self._newest = np.concatenate((self._newest, stable))
        if len(self._newest) < LEARNT:
            return
        self._classes = classes_of(self._newest)
        self._begin(len(self._classes) + 1)
        self._newest = np.empty(0) if len(self._classes) else self._newest[-LEARNT:]

    def _name(self, one: int) -> str:
        if self._classes is None or not len(self._classes):
            return f"more than stable's median of {np.median(self._newest):.6g}"
        if one == len(self._classes):
            return "other values than the usual ones"
        value = float(self._classes[one])
        return f'"{self._texts[value]}"' if value in self._texts else f"{value:.15g}"


def classes_of(values: Values) -> Values:
    """The values that are classes, in order, shape (k,): all of up to 32, the 31 most frequent of more texts.

    None of more numbers: these are compared with a median.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= MAX_CLASSES:
        return distinct
    if not _are_hashes(distinct):
        return np.empty(0)
    return np.sort(distinct[np.argsort(-counts, kind="stable")[: MAX_CLASSES - 1]])


def _are_hashes(distinct: Values) -> bool:
    """Whether these are hashes of text, which have 53 bits: whole, and large.

    Told from the values, not from the texts known: these come once, and a replay may begin behind them.
    """
    size = np.abs(distinct)
    return bool(np.all(size == np.floor(size)) and np.mean(size) > _LARGE and np.max(size) <= _LARGEST)


def _predictions(rows: Rows) -> Values:
    values: Values = rows["value"]
    return values[~np.isnan(values)]
