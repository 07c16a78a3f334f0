"""What one metric says of one rollout, from the blocks of its kind."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final, NamedTuple

from stream_router.core.deciding.blocks import Block
from stream_router.core.deciding.forward import ForwardTest, Progress
from stream_router.core.deciding.metrics import Metric
from stream_router.core.deciding.numbers import Counts, Status
from stream_router.core.deciding.verdict import Verdict, named
from stream_router.core.evidence import RolloutStarted
from stream_router.core.policy import MetricPolicy


class _Newest(NamedTuple):
    """Of the newest block."""

    epoch: int
    digest: str
    newest_label_at: int


class Judgement:
    """A metric's test and, in favour of canary, the mirrored one; and its verdict once that is final.

    Where a metric has no margin, or no direction that is better, it is never healthy.
    """

    def __init__(
        self, metric: Metric, policy: MetricPolicy, started: RolloutStarted, texts: Mapping[float, str]
    ) -> None:
        self.metric: Final = metric
        self.policy: Final = policy
        self.final: Verdict | None = None
        """Unhealthy, as of the record at which it fell."""
        self.passed: Verdict | None = None
        """Healthy, as of the record at which that was first proven; it may still become unhealthy."""
        self._started = started
        self._test = metric.test(started, texts)
        self._forward = ForwardTest(policy.margin, started.policy.beta) if 0 < policy.margin < 1 else None
        self._newest: _Newest | None = None

    def update(self, block: Block) -> Counts | None:
        """Nothing changes once it is unhealthy. Gives what was bet on; see MetricTest."""
        counts = None
        if not self._test.unhealthy:
            counts = self._test.update(block)
            self._newest = _Newest(block.epoch, block.digest, block.newest_label_at)

        return counts

    def speak_for(self, counts: Counts) -> None:
        """Outcomes of windows in which none is missing, for the mirrored test."""
        if self._forward and not self._test.unhealthy:
            n = counts
            self._forward.update(n_a=n.stable_labels, n_b=n.canary_labels, e_a=n.stable_bad, e_b=n.canary_bad)

    @property
    def falls(self) -> bool:
        """Whether the test has become unhealthy and there is no final verdict yet."""
        return self.final is None and self._test.unhealthy

    def settle(self, offset: int, remarks: tuple[str, ...]) -> Verdict:
        """The final verdict, as of the record at `offset`, at whose end it falls."""
        self.final = self._verdict(Status.UNHEALTHY, offset, remarks)
        return self.final

    @property
    def passes(self) -> bool:
        """Whether it has become healthy, is not unhealthy, and there is no verdict of that yet."""
        return self.passed is None and not self._test.unhealthy and self._forward is not None and self._forward.healthy

    def settle_passed(self, offset: int, remarks: tuple[str, ...]) -> Verdict:
        """That it is healthy, as of the record at `offset`, at whose end it became so."""
        self.passed = self.verdict(offset, remarks)
        return self.passed

    def verdict(self, offset: int, remarks: tuple[str, ...]) -> Verdict:
        """As of the record at `offset`; the final one as of its own."""
        if self.final:
            return self.final
        if self._forward and self._forward.healthy:
            proven = (
                f"its rate of bad ones is not greater by {100 * self.policy.margin:g} points or more: "
                f"e-value reached {self._forward.threshold:.4g} = 1/beta"
            )
            return self._verdict(Status.HEALTHY, offset, (proven, *remarks))
        return self._verdict(Status.INCONCLUSIVE, offset, remarks)

    @property
    def is_unhealthy(self) -> bool:
        return self._test.unhealthy

    @property
    def e_value(self) -> float:
        return self._test.e_value

    @property
    def canary_outcomes(self) -> int:
        """Those that were bet on."""
        return self._test.numbers.canary_labels

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return {
            "test": self._test.state(),
            "forward": self._forward and asdict(self._forward.state),
            "newest": self._newest and list(self._newest),
            "final": self.final and self.final.state(),
            "passed": self.passed and self.passed.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises LookupError, TypeError or ValueError where the state is none."""
        self._test.restore(state["test"])
        if self._forward:
            self._forward.state = Progress(**state["forward"])
        self._newest = state["newest"] and _Newest(*state["newest"])
        self.final = state["final"] and Verdict.restored(state["final"])
        self.passed = state["passed"] and Verdict.restored(state["passed"])

    def _verdict(self, status: Status, offset: int, remarks: tuple[str, ...]) -> Verdict:
        versions, newest = self._started.versions, self._newest
        sentence = self._test.sentence(named("stable", versions), named("canary", versions))
        return Verdict(
            metric=self.metric.name,
            role=self.policy.role,
            status=status,
            rollout=self._started.rollout,
            epoch=newest.epoch if newest else None,
            digest=newest.digest if newest else None,
            stable_version=versions.stable,
            canary_version=versions.canary,
            deciding_label_at=newest.newest_label_at if newest else None,
            offset=offset,
            numbers=self._test.numbers,
            reason="; ".join((sentence, *remarks)),
            policy_digest=self._started.policy.digest,
        )
