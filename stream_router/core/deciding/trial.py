"""A trial: one started rollout under the test, from its outcomes to its verdict."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from stream_router.core.deciding.blocks import Block, Blocks
from stream_router.core.deciding.cohorts import Cohorts
from stream_router.core.deciding.decision import EProcess
from stream_router.core.deciding.entities import Entities
from stream_router.core.deciding.epochs import Epochs, epoch_of
from stream_router.core.deciding.verdict import Status, Totals, Verdict, reason_for
from stream_router.core.joining.evidence import Outcome, RolloutStarted
from stream_router.core.lane import CANARY, LANES

ACCURACY: Final = "accuracy"


class BlockClosed(NamedTuple):
    """A block that was bet on, and the evidence after it."""

    block: Block
    evidence: float


@dataclass(slots=True)
class Ignored:
    """Outcomes that the test does not take.

    foreign: of another metric, lane or version than the rollout's; one_sided: of a split in which a lane had no share.
    """

    foreign: int = 0
    one_sided: int = 0


class Trial:
    """Takes outcomes whose epoch is known. `ticks` are the newest ticks by partition, kept by the caller.

    Unhealthy is final and frees all but the numbers.
    """

    def __init__(self, started: RolloutStarted, epochs: Epochs, ticks: dict[int, int]) -> None:
        self.started = started
        self._epochs = epochs
        self._ticks = ticks
        self._test = EProcess(started.policy)
        self._cohorts = Cohorts(started.policy, started.ripe_age)
        self._entities = Entities(started.policy)
        self._blocks = Blocks(started.policy, epochs)
        self._totals = Totals()
        self.ignored = Ignored()

    @property
    def unhealthy(self) -> bool:
        return self._test.unhealthy

    def take(self, partition: int, outcome: Outcome) -> None:
        """An outcome that came: into its cohort, or at once into its block where the cohort is ripe already."""
        if not self._is_ours(outcome):
            self.ignored.foreign += 1
        elif not self._epochs.has_both_lanes(epoch_of(outcome)):
            self.ignored.one_sided += 1
        elif self._cohorts.is_ripe(outcome.window, self._ticks.get(partition)):
            self._enter((outcome,))
        else:
            self._blocks.expect(outcome)
            self._cohorts.add(partition, outcome)

    def ripen(self, partition: int) -> None:
        """After a tick of the partition."""
        self._enter(self._cohorts.ripen(partition, self._ticks[partition]))

    def close_blocks(self, *, at_tick: bool) -> list[BlockClosed]:
        """At the end of a record: bets on the blocks that close, up to the one that decides."""
        closed = []
        for block in self._blocks.close(max(self._ticks.values()) if at_tick else None):
            self._test.update(block.stable_labels, block.canary_labels, block.stable_bad, block.canary_bad)
            self._totals.add(block)
            closed.append(BlockClosed(block, self._test.value))
            if self.unhealthy:
                self._free()
                break
        return closed

    def verdict(self, offset: int) -> Verdict:
        """As of the record at `offset`: unhealthy, or inconclusive so far."""
        status = Status.UNHEALTHY if self.unhealthy else Status.INCONCLUSIVE
        numbers = self._totals.numbers(self._test.value, self._test.threshold)
        versions, newest = self.started.versions, self._totals.newest
        return Verdict(
            metric=ACCURACY,
            status=status,
            rollout=self.started.rollout,
            epoch=newest.epoch if newest else None,
            digest=newest.digest if newest else None,
            stable_version=versions.stable,
            canary_version=versions.canary,
            deciding_label_at=newest.newest_label_at if newest else None,
            offset=offset,
            numbers=numbers,
            reason=reason_for(status, versions, numbers, self._remarks()),
        )

    @property
    def unripe(self) -> int:
        return len(self._cohorts)

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
        if outcome.metric != ACCURACY or outcome.lane not in LANES:
            return False
        versions = self.started.versions
        bound = versions.canary if outcome.lane == CANARY else versions.stable
        return bound is None or bound == outcome.model_version

    def _enter(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            if self._entities.admit(outcome):
                self._blocks.add(outcome, max(self._ticks.values()))

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
        self._cohorts = Cohorts(policy, self.started.ripe_age)
        self._entities = Entities(policy)
        self._blocks = Blocks(policy, self._epochs)
