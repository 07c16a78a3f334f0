"""What the test says about a rollout, with the numbers it says it from."""

from dataclasses import dataclass

from stream_router.core.deciding.blocks import Block
from stream_router.core.deciding.interval import newcombe
from stream_router.core.deciding.metrics.accuracy import Accuracy
from stream_router.core.deciding.numbers import Numbers, Status
from stream_router.core.policy import Role
from stream_router.core.routing.applied_split import Versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """epoch, digest, deciding_label_at: of the newest closed block, with its newest label's time; None before one.

    offset: of the record of R.evidence at which it fell. numbers: None of a plain rule, which is no test.
    """

    metric: str
    status: Status
    rollout: int
    epoch: int | None
    digest: str | None
    stable_version: str | None
    canary_version: str | None
    deciding_label_at: int | None
    offset: int
    numbers: Numbers | None
    reason: str
    role: Role = "guardrail"


@dataclass(slots=True)
class Totals:
    """Sums over closed blocks."""

    stable_labels: int = 0
    stable_bad: int = 0
    canary_labels: int = 0
    canary_bad: int = 0
    blocks: int = 0
    newest: Block | None = None

    def add(self, block: Block) -> None:
        self.stable_labels += block.stable_labels
        self.stable_bad += block.stable_bad
        self.canary_labels += block.canary_labels
        self.canary_bad += block.canary_bad
        self.blocks += 1
        self.newest = block

    def numbers(self, e_value: float, threshold: float) -> Numbers:
        """With the difference canary - stable of the accuracies and its 95 % interval (Newcombe 1998, method 10).

        The difference is 0 in [-1, 1] while a lane has no outcome in a block.
        """
        stable_correct = self.stable_labels - self.stable_bad
        canary_correct = self.canary_labels - self.canary_bad
        low, high = newcombe(canary_correct, self.canary_labels, stable_correct, self.stable_labels)
        both = self.stable_labels and self.canary_labels
        return Numbers(
            stable_labels=self.stable_labels,
            stable_bad=self.stable_bad,
            canary_labels=self.canary_labels,
            canary_bad=self.canary_bad,
            blocks=self.blocks,
            difference=canary_correct / self.canary_labels - stable_correct / self.stable_labels if both else 0.0,
            difference_low=low,
            difference_high=high,
            e_value=e_value,
            threshold=threshold,
        )


def reason_for(
    metric: Accuracy, status: Status, versions: Versions, numbers: Numbers, remarks: tuple[str, ...] = ()
) -> str:
    """One sentence: difference, interval, n, rule."""
    n = numbers
    canary, stable = (f"{lane} {version or '(any version)'}" for lane, version in _named(versions))
    if not n.canary_labels or not n.stable_labels:
        sentence = (
            f"nothing is known yet of {canary} against {stable}: {n.canary_labels} and {n.stable_labels} labels, "
            f"e-value {n.e_value:.3g} of {n.threshold:.4g} = 1/alpha"
        )
        return "; ".join((sentence, *remarks))
    compared = (
        f"{metric.shown(n.canary_bad, n.canary_labels)} against {metric.shown(n.stable_bad, n.stable_labels)}, "
        f"difference {n.difference:+.3f} (95 % {n.difference_low:+.3f} to {n.difference_high:+.3f})"
    )
    after = f"after {n.blocks} block{'s' if n.blocks != 1 else ''}"
    if status is Status.UNHEALTHY:
        sentence = (
            f"{canary} is {metric.worse} than {stable}: {compared}; e-value reached {n.threshold:.4g} = 1/alpha {after}"
        )
    else:
        sentence = (
            f"{canary} is not shown to be {metric.worse} than {stable}: {compared}; "
            f"e-value {n.e_value:.3g} of {n.threshold:.4g} = 1/alpha {after}"
        )
    return "; ".join((sentence, *remarks))


def _named(versions: Versions) -> tuple[tuple[str, str | None], tuple[str, str | None]]:
    return ("canary", versions.canary), ("stable", versions.stable)
