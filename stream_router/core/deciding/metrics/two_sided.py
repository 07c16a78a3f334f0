"""A two-sided sequential test: whether canary's odds of an outcome differ from stable's, in either direction."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from stream_router.core.deciding.blocks import Block
from stream_router.core.deciding.e_process import Capital, EProcess
from stream_router.core.deciding.interval import newcombe
from stream_router.core.deciding.numbers import Numbers
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
        """For a snapshot."""
        return {"more": asdict(self._more.state), "less": asdict(self._less.state)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises LookupError or TypeError where the state is none."""
        self._more.state, self._less.state = Capital(**state["more"]), Capital(**state["less"])


@dataclass(slots=True)
class Compared:
    """Sums over blocks: n_a outcomes of stable, e_a of them bad; n_b of canary, e_b of them bad."""

    n_a: int = 0
    n_b: int = 0
    e_a: int = 0
    e_b: int = 0

    def add(self, n_a: int, n_b: int, e_a: int, e_b: int) -> None:
        self.n_a += n_a
        self.n_b += n_b
        self.e_a += e_a
        self.e_b += e_b

    @property
    def both(self) -> bool:
        """Whether both lanes have an outcome."""
        return self.n_a > 0 and self.n_b > 0

    def numbers(self, blocks: int, e_value: float, threshold: float) -> Numbers:
        """The difference is that of the good ones' rates, as in every metric: 0 in [-1, 1] without both lanes."""
        low, high = newcombe(self.n_b - self.e_b, self.n_b, self.n_a - self.e_a, self.n_a)
        return Numbers(
            stable_labels=self.n_a,
            stable_bad=self.e_a,
            canary_labels=self.n_b,
            canary_bad=self.e_b,
            blocks=blocks,
            difference=self.e_a / self.n_a - self.e_b / self.n_b if self.both else 0.0,
            difference_low=low,
            difference_high=high,
            e_value=e_value,
            threshold=threshold,
        )

    def shown(self, noun: str, *, good: bool = False) -> str:
        """Canary's rate of bad outcomes against stable's, or of good ones, with its difference and 95 % interval."""
        bad_a, bad_b = (self.n_a - self.e_a, self.n_b - self.e_b) if good else (self.e_a, self.e_b)
        low, high = newcombe(bad_b, self.n_b, bad_a, self.n_a)
        rate_a, rate_b = 100 * bad_a / self.n_a, 100 * bad_b / self.n_b
        return (
            f"{rate_b:.1f} % of {self.n_b:,} {noun} against {rate_a:.1f} % of {self.n_a:,}, "
            f"difference {rate_b - rate_a:+.1f} points (95 % {100 * low:+.1f} to {100 * high:+.1f})"
        )


def evidence_shown(e_value: float, threshold: float, blocks: int) -> str:
    """The e-value beside its threshold."""
    after = f"after {blocks:,} block{'s' if blocks != 1 else ''}"
    if e_value >= threshold:
        return f"e-value reached {threshold:.4g} = 1/alpha {after}"
    return f"e-value {e_value:.3g} of {threshold:.4g} = 1/alpha {after}"


class Read(NamedTuple):
    """n outcomes that count, of one lane of a block, `bad` of them bad."""

    n: int
    bad: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of each outcome, and the words for the answer.

    read: counts a lane's rows of a block. more, less, unshown: what is said where canary has more bad outcomes than
    stable, fewer, or neither is shown, with {canary} and {stable} for the lanes. noun: what is counted. shows_good:
    whether the rates in the sentence are those of the good outcomes.
    """

    read: Callable[[Rows], Read]
    more: str
    less: str
    unshown: str
    noun: str
    shows_good: bool = False


class TwoSidedTest:
    """See MetricTest: one two-sided test of one question."""

    def __init__(self, question: Question, name: MetricName, policy: Policy) -> None:
        self._question = question
        self._test = TwoSided(alpha=level(policy, name), max_labels=policy.max_labels)
        self._compared = Compared()
        self._blocks = 0

    def update(self, block: Block) -> None:
        if self.unhealthy:
            return
        (n_a, e_a), (n_b, e_b) = self._question.read(block.stable), self._question.read(block.canary)
        self._test.update(n_a, n_b, e_a, e_b)
        self._compared.add(n_a, n_b, e_a, e_b)
        self._blocks += 1

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
        return self._compared.numbers(self._blocks, self.e_value, self.threshold)

    def sentence(self, stable: str, canary: str) -> str:
        question, compared = self._question, self._compared
        evidence = evidence_shown(self.e_value, self.threshold, self._blocks)
        shown = question.more if self._test.more else question.less
        claim = (shown if self.unhealthy else question.unshown).format(stable=stable, canary=canary)
        if not compared.both:
            return f"{claim}: {compared.n_b:,} {question.noun} against {compared.n_a:,}; {evidence}"
        return f"{claim}: {compared.shown(question.noun, good=question.shows_good)}; {evidence}"

    def state(self) -> dict[str, Any]:
        return {"test": self._test.state(), "compared": asdict(self._compared), "blocks": self._blocks}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._test.restore(state["test"])
        self._compared = Compared(**state["compared"])
        self._blocks = state["blocks"]
