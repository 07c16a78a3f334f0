"""What one metric says of one rollout, from the blocks of its kind."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from stream_router.core.deciding.blocks import Block
from stream_router.core.deciding.metrics import Metric
from stream_router.core.deciding.numbers import Status
from stream_router.core.deciding.verdict import Verdict, named
from stream_router.core.evidence import RolloutStarted
from stream_router.core.policy import MetricPolicy


class _Newest(NamedTuple):
    """Of the newest block."""

    epoch: int
    digest: str
    newest_label_at: int


class Judgement:
    """A metric's test, and its verdict once that is final."""

    def __init__(
        self, metric: Metric, policy: MetricPolicy, started: RolloutStarted, texts: Mapping[float, str]
    ) -> None:
        self.metric: Final = metric
        self.policy: Final = policy
        self.final: Verdict | None = None
        """Unhealthy, as of the record at which it fell."""
        self._started = started
        self._test = metric.test(started, texts)
        self._newest: _Newest | None = None

    def update(self, block: Block) -> None:
        """Nothing changes once it is unhealthy."""
        if not self._test.unhealthy:
            self._test.update(block)
            self._newest = _Newest(block.epoch, block.digest, block.newest_label_at)

    def has_fallen(self, offset: int, remarks: tuple[str, ...]) -> bool:
        """Whether the test has become unhealthy by the record at `offset`, at whose end this is asked."""
        falls = self.final is None and self._test.unhealthy
        if falls:
            self.final = self._verdict(Status.UNHEALTHY, offset, remarks)
        return falls

    def verdict(self, offset: int, remarks: tuple[str, ...]) -> Verdict:
        """As of the record at `offset`; the final one as of its own."""
        return self.final or self._verdict(Status.INCONCLUSIVE, offset, remarks)

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
            "newest": self._newest and list(self._newest),
            "final": self.final and self.final.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises LookupError, TypeError or ValueError where the state is none."""
        self._test.restore(state["test"])
        self._newest = state["newest"] and _Newest(*state["newest"])
        self.final = state["final"] and Verdict.restored(state["final"])

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
        )
