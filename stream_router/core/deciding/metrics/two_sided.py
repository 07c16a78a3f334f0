"""A two-sided sequential test: whether canary's odds of an outcome differ from stable's, in either direction."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from stream_router.core.deciding.blocks import Block
from stream_router.core.deciding.e_process import Capital, EProcess
from stream_router.core.deciding.metrics.words import is_unknown, percent, points, rule, unknown
from stream_router.core.deciding.numbers import Numbers, Totals
from stream_router.core.deciding.rows import Rows
from stream_router.core.policy import MetricName, Policy


def level(policy: Policy, name: MetricName) -> float:
    """The metric's part of alpha."""
    return policy.alpha * policy.metric(name).weight


class TwoSided:
    """The mean of two e-processes: one that canary's odds are greater, one that they are smaller.

    Null: the odds are equal. A mean of e-processes fed the same blocks is one (Vovk & Wang 2021, E-values, sec. 3), so
    it reaches 1 / alpha with probability at most alpha; each side's own bet is capped where it alone decides, at 2 /
    alpha. Against two tests at alpha / 2 nothing is lost: whenever one of these decides, so does the mean.
    """

    def __init__(self, *, alpha: float, max_labels: int) -> None:
        self.threshold = 1.0 / alpha
        self._more = EProcess(alpha=alpha / 2, psi0=1.0, max_labels=max_labels)
        self._less = EProcess(alpha=alpha / 2, psi0=1.0, max_labels=max_labels)

    def update(self, n_a: int, n_b: int, e_a: int, e_b: int) -> None:
        """Bet on one block: n_a outcomes of stable, e_a of them bad; n_b of canary, e_b of them bad."""
        if not self.unhealthy:
            self._more.update(n_a, n_b, e_a, e_b)
            self._less.update(n_a, n_b, n_a - e_a, n_b - e_b)

    @property
    def unhealthy(self) -> bool:
        """Final: once true nothing changes any more."""
        return self.e_value == self.threshold

    @property
    def e_value(self) -> float:
        """1 at the start, from 0 to the threshold: exactly that once unhealthy."""
        return min(self.threshold, self.mean)

    @property
    def mean(self) -> float:
        """The e-value, not cut off: the side that decides may leave some of the other's above the threshold."""
        return (self._more.e_value + self._less.e_value) / 2

    @property
    def more(self) -> bool:
        """Whether the evidence is rather that canary's odds are greater."""
        return self._more.e_value >= self._less.e_value

    def state(self) -> dict[str, Any]:
        """For a snapshot: plain, since an array of eight numbers takes more as one."""
        sides = {"more": self._more.state, "less": self._less.state}
        return {name: asdict(side) | {"log_invested": side.log_invested.tolist()} for name, side in sides.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises LookupError, TypeError or ValueError where the state is none."""
        for test, name in ((self._more, "more"), (self._less, "less")):
            capital = Capital(**state[name])
            capital.log_invested = np.array(capital.log_invested, np.float64)
            test.state = capital


def rates(numbers: Numbers, units: str) -> str:
    """Canary's rate of bad outcomes against stable's, and what the test says to it."""
    n = numbers
    return (
        f"{percent(n.canary_bad, n.canary_labels)} of {n.canary_labels:,} {units} against "
        f"{percent(n.stable_bad, n.stable_labels)} of {n.stable_labels:,}, {points(n)}; {rule(n)}"
    )


class Read(NamedTuple):
    """n outcomes that count, of one lane of a block, `bad` of them bad."""

    n: int
    bad: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of each outcome, and the words for the answer.

    read: counts a lane's rows of a block. more, less, unshown: what is said where canary has more bad outcomes than
    stable, fewer, or neither is shown, with {canary} and {stable} for the lanes. bad: what is said before their rates.
    units: what is counted.
    """

    read: Callable[[Rows], Read]
    more: str
    less: str
    unshown: str
    bad: str
    units: str


class TwoSidedTest:
    """See MetricTest: one two-sided test of one question."""

    def __init__(self, question: Question, name: MetricName, policy: Policy) -> None:
        self._question = question
        self._test = TwoSided(alpha=level(policy, name), max_labels=policy.max_labels)
        self._totals = Totals()

    def update(self, block: Block) -> None:
        if self.unhealthy:
            return
        (n_a, e_a), (n_b, e_b) = self._question.read(block.stable), self._question.read(block.canary)
        self._test.update(n_a, n_b, e_a, e_b)
        self._totals.add(n_a, e_a, n_b, e_b)

    @property
    def unhealthy(self) -> bool:
        return self._test.unhealthy

    @property
    def e_value(self) -> float:
        return self._test.e_value

    @property
    def threshold(self) -> float:
        return self._test.threshold

    @property
    def numbers(self) -> Numbers:
        return self._totals.numbers(self.e_value, self.threshold)

    def sentence(self, stable: str, canary: str) -> str:
        numbers, question = self.numbers, self._question
        if is_unknown(numbers):
            return unknown(numbers, stable, canary, question.units)
        shown = question.more if self._test.more else question.less
        claim = (shown if self.unhealthy else question.unshown).format(stable=stable, canary=canary)
        return f"{claim}: {question.bad}{rates(numbers, question.units)}"

    def state(self) -> dict[str, Any]:
        return {"test": self._test.state(), "totals": asdict(self._totals)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._test.restore(state["test"])
        self._totals = Totals(**state["totals"])
