"""A trial: one started rollout under the test, from its outcomes to its verdict."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from stream_router.core.deciding.blocks import Block, Blocks
from stream_router.core.deciding.e_process import EProcess
from stream_router.core.deciding.entities import Entities
from stream_router.core.deciding.epochs import Epochs, epoch_of
from stream_router.core.deciding.metrics import Metric
from stream_router.core.deciding.metrics.accuracy import Accuracy
from stream_router.core.deciding.unripe_outcomes import UnripeOutcomes
from stream_router.core.deciding.verdict import Status, Totals, Verdict, reason_for
from stream_router.core.evidence import Outcome, RolloutStarted
from stream_router.core.lane import CANARY, LANES


class BlockClosed(NamedTuple):
    """A block that was bet on, and the e-value after it."""

    block: Block
    e_value: float


@dataclass(slots=True)
class Ignored:
    """Outcomes that the test does not take.

    not_ours: of another metric, lane or version than the rollout's; one_sided: of a split in which a lane had no share.
    """

    not_ours: int = 0
    one_sided: int = 0


class Trial:
    """Takes outcomes whose epoch is known. `watermarks` are the newest watermarks by partition, kept by the caller.

    Once unhealthy, the trial keeps only its totals.
    """

    def __init__(self, started: RolloutStarted, epochs: Epochs, watermarks: dict[int, int]) -> None:
        self.started = started
        self.metric: Metric = Accuracy()
        self._epochs = epochs
        self._watermarks = watermarks
        self._test = EProcess(started.policy)
        self._unripe_outcomes = UnripeOutcomes(started.policy, started.ripe_age)
        self._entities = Entities(started.policy)
        self._blocks = Blocks(started.policy, epochs)
        self._totals = Totals()
        self.ignored = Ignored()

    @property
    def unhealthy(self) -> bool:
        return self._test.unhealthy

    def take(self, partition: int, outcome: Outcome) -> None:
        """An outcome that came: it waits until its window is ripe, or enters its block at once where it is."""
        if not self._is_ours(outcome):
            self.ignored.not_ours += 1
        elif not self._epochs.has_both_lanes(epoch_of(outcome)):
            self.ignored.one_sided += 1
        elif self._unripe_outcomes.is_ripe(outcome.window, self._watermarks.get(partition)):
            self._enter((outcome,))
        else:
            self._blocks.expect(outcome)
            self._unripe_outcomes.add(partition, outcome)

    def ripen(self, partition: int) -> None:
        """After a watermark of the partition."""
        self._enter(self._unripe_outcomes.ripen(partition, self._watermarks[partition]))

    def close_blocks(self, *, at_watermark: bool) -> list[BlockClosed]:
        """At the end of a record: bets on the blocks that close, up to the one that decides."""
        closed = []
        for block in self._blocks.close(max(self._watermarks.values()) if at_watermark else None):
            self._test.update(
                n_a=block.stable_labels, n_b=block.canary_labels, e_a=block.stable_bad, e_b=block.canary_bad
            )
            self._totals.add(block)
            closed.append(BlockClosed(block, self._test.e_value))
            if self.unhealthy:
                self._free()
                break
        return closed

    def verdict(self, offset: int) -> Verdict:
        """As of the record at `offset`: unhealthy, or inconclusive so far."""
        status = Status.UNHEALTHY if self.unhealthy else Status.INCONCLUSIVE
        numbers = self._totals.numbers(self._test.e_value, self._test.threshold)
        versions, newest = self.started.versions, self._totals.newest
        return Verdict(
            metric=self.metric.name,
            status=status,
            rollout=self.started.rollout,
            epoch=newest.epoch if newest else None,
            digest=newest.digest if newest else None,
            stable_version=versions.stable,
            canary_version=versions.canary,
            deciding_label_at=newest.newest_label_at if newest else None,
            offset=offset,
            numbers=numbers,
            reason=reason_for(self.metric, status, versions, numbers, self._remarks()),
        )

    @property
    def unripe(self) -> int:
        return len(self._unripe_outcomes)

    @property
    def in_open_blocks(self) -> int:
        return self._blocks.outcomes

    @property
    def repeats(self) -> int:
        """Outcomes left out because their entity had had one."""
        return self._entities.repeats

    @property
    def entities_used_up(self) -> bool:
        return self._entities.used_up

    @property
    def max_labels_reached(self) -> bool:
        """The test goes on, since it holds at any length; what the policy says about the rollout is the caller's."""
        return self._totals.canary_labels >= self.started.policy.max_labels

    def _is_ours(self, outcome: Outcome) -> bool:
        if outcome.metric != self.metric.name or outcome.lane not in LANES:
            return False
        versions = self.started.versions
        bound = versions.canary if outcome.lane == CANARY else versions.stable
        return bound is None or bound == outcome.model_version

    def _enter(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            if self._entities.admit(outcome):
                self._blocks.add(outcome, max(self._watermarks.values()))

    def _remarks(self) -> tuple[str, ...]:
        if self.unhealthy:
            return ()
        remarks = []
        if self.max_labels_reached:
            remarks.append(f"no decision within {self.started.policy.max_labels:,} canary labels")
        if self.entities_used_up:
            remarks.append("canary's entities are used up: it brings no new ones")
        return tuple(remarks)

    def _free(self) -> None:
        policy = self.started.policy
        self._unripe_outcomes = UnripeOutcomes(policy, self.started.ripe_age)
        self._entities = Entities(policy)
        self._blocks = Blocks(policy, self._epochs)
