"""Prediction mix: which answers the lanes give, compared before any label is there.

Lanes are drawn at random, so both should predict each class equally often, and numbers above a bound equally often. It
says that the models differ, never which is right: an early word to a person.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from stream_router.core.deciding.blocks import Block
from stream_router.core.deciding.e_processes import EProcesses
from stream_router.core.deciding.metrics.two_sided import level, rates
from stream_router.core.deciding.metrics.words import is_unknown, unknown
from stream_router.core.deciding.numbers import Numbers, Totals
from stream_router.core.deciding.rows import Rows
from stream_router.core.evidence import PREDICTION, Doubles, Integers, RolloutStarted
from stream_router.core.policy import MetricName, Policy

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
    """See MetricTest: a mean of two-sided tests (see TwoSided), one a class or a single one of numbers.

    Null: both lanes' predictions are draws of the same. Both sides of all K tests read the same blocks, so the mean of
    their 2 K e-values is an e-value, too, and each one's own bets are capped where it alone decides, at 2 K / alpha.
    Until stable has shown enough, nothing is bet. An error has no prediction, and is error rate's.
    """

    def __init__(self, policy: Policy, alpha: float, texts: Mapping[float, str]) -> None:
        self._alpha = alpha
        self._max_labels = policy.max_labels
        self._texts = texts
        self._newest: Doubles = np.empty(0)
        self._classes: Doubles | None = None
        """None until known; empty: numbers. In order, "other" being one more behind the last."""
        self._sides: EProcesses | None = None
        """Of each test that canary has more bad ones, then of each that it has fewer."""
        self._unhealthy = False
        self._totals = Totals()
        """Without the bad ones, which differ by test: shape (K,) each."""
        self._stable_bad = self._canary_bad = np.empty(0, np.int64)

    def update(self, block: Block) -> None:
        if self.unhealthy:
            return
        if self._sides is not None:
            self._bet(self._sides, self._counts(block))
        if self._classes is None or not len(self._classes):
            self._learn(_predictions(block.stable))

    @property
    def unhealthy(self) -> bool:
        return self._unhealthy

    @property
    def e_value(self) -> float:
        return self.threshold if self.unhealthy else self.mean

    @property
    def mean(self) -> float:
        """The e-value, not cut off."""
        if self._sides is None:
            return 1.0
        e_values = self._sides.e_value
        return float(np.add.reduce(e_values)) / len(e_values)

    @property
    def threshold(self) -> float:
        return 1.0 / self._alpha

    @property
    def numbers(self) -> Numbers:
        """Of the class that differs most by the evidence: bad is what it is counted for."""
        totals = self._totals
        if self._sides is not None:
            bad = int(self._stable_bad[self._first]), int(self._canary_bad[self._first])
            totals = replace(totals, stable_bad=bad[0], canary_bad=bad[1])
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
        more, fewer = self._by_test[:, self._first]
        often = "more" if more >= fewer else "less"
        return f"{canary} predicts {what} {often} often than {stable}: {shown}"

    def state(self) -> dict[str, Any]:
        return {
            "newest": self._newest,
            "classes": self._classes,
            "sides": self._sides and self._sides.snapshot(),
            "totals": asdict(self._totals),
            "stable_bad": self._stable_bad,
            "canary_bad": self._canary_bad,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._newest = np.asarray(state["newest"], np.float64)
        self._classes = None if state["classes"] is None else np.asarray(state["classes"], np.float64)
        if state["sides"] is not None:
            sides = self._begin(len(state["stable_bad"]))
            sides.restore(state["sides"])
            self._unhealthy = self._is_decided(sides)
        self._totals = Totals(**state["totals"])
        self._stable_bad = np.array(state["stable_bad"], np.int64)
        self._canary_bad = np.array(state["canary_bad"], np.int64)

    @property
    def _by_test(self) -> Doubles:
        """The e-values of both sides of each test, shape (2, K)."""
        return np.ones((2, 1)) if self._sides is None else self._sides.e_value.reshape(2, -1)

    @property
    def _first(self) -> int:
        """The test with the largest e-value, the first one of those that decide alone."""
        by_test = self._by_test
        return int(np.argmax(np.minimum(by_test.mean(0), by_test.shape[1] / self._alpha)))

    def _begin(self, tests: int) -> EProcesses:
        self._sides = EProcesses(alpha=self._alpha / tests / 2, psi0=1.0, max_labels=self._max_labels, tests=2 * tests)
        self._stable_bad, self._canary_bad = np.zeros(tests, np.int64), np.zeros(tests, np.int64)
        return self._sides

    def _is_decided(self, sides: EProcesses) -> bool:
        return sides.any_unhealthy or self.mean >= self.threshold

    def _counts(self, block: Block) -> Integers:
        """Predictions of stable and of canary, shape (2, K + 1): the bad ones of each test, then those of none."""
        values = np.concatenate((block.stable["value"], block.canary["value"]))
        classes = self._classes
        if classes is None or not len(classes):
            place, tests = np.where(values > np.median(self._newest), 0, 1), 1
        else:
            place, tests = np.minimum(classes.searchsorted(values), len(classes) - 1), len(classes) + 1
            place[classes[place] != values] = len(classes)
        place[np.isnan(values)] = tests + 1
        place[len(block.stable) :] += tests + 2
        return np.bincount(place, minlength=2 * (tests + 2)).reshape(2, -1)[:, :-1]

    def _bet(self, sides: EProcesses, counts: Integers) -> None:
        n, bad = np.add.reduce(counts, axis=1, keepdims=True), counts[:, :-1]
        e = np.concatenate((bad, n - bad), axis=1)
        (n_a, n_b), (e_a, e_b) = n + np.zeros_like(e), e
        sides.update(n_a, n_b, e_a, e_b)
        self._totals.add(int(n[0, 0]), 0, int(n[1, 0]), 0)
        self._stable_bad += bad[0]
        self._canary_bad += bad[1]
        self._unhealthy = self._is_decided(sides)

    def _learn(self, stable: Doubles) -> None:
        """From a block that was bet on, or came too early for that, until classes are known."""
        if self._classes is not None:
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


def classes_of(values: Doubles) -> Doubles:
    """The values that are classes, in order, shape (k,): all of up to 32, the 31 most frequent of more texts.

    None of more numbers: these are compared with a median.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= MAX_CLASSES:
        return distinct
    if not _are_hashes(distinct):
        return np.empty(0)
    return np.sort(distinct[np.argsort(-counts, kind="stable")[: MAX_CLASSES - 1]])


def _are_hashes(distinct: Doubles) -> bool:
    """Whether these are hashes of text, which have 53 bits: whole, and large.

    Told from the values, not from the texts known: these come once, and a replay may begin behind them.
    """
    size = np.abs(distinct)
    return bool(np.all(size == np.floor(size)) and np.mean(size) > _LARGE and np.max(size) <= _LARGEST)


def _predictions(rows: Rows) -> Doubles:
    values: Doubles = rows["value"]
    return values[~np.isnan(values)]
