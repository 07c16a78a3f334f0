"""A trial: one started rollout under the test, from its outcomes to its verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from stream_router.core.deciding.blocks import Block, Blocks
from stream_router.core.deciding.e_process import Capital, EProcess
from stream_router.core.deciding.entities import Entities
from stream_router.core.deciding.epochs import Epochs, epoch_of
from stream_router.core.deciding.metrics.accuracy import Accuracy
from stream_router.core.deciding.numbers import Status
from stream_router.core.deciding.rows import Batch, Pool, together
from stream_router.core.deciding.verdict import Totals, Verdict, reason_for
from stream_router.core.evidence import OutcomeKey, RolloutStarted
from stream_router.core.lane import CANARY, LANES
from stream_router.core.policy import Policy
from stream_router.core.routing.applied_split import Versions


class BlockClosed(NamedTuple):
    """A block that was bet on, and the e-value after it."""

    block: Block
    e_value: float


@dataclass(slots=True)
class Ignored:
    """Outcomes that the test does not take.

    not_ours: of another metric, lane or version than the rollout's; one_sided: of a split in which a lane had no share;
    unattributed: of an epoch that had no control record until long after they were ripe.
    """

    not_ours: int = 0
    one_sided: int = 0
    unattributed: int = 0


class Trial:
    """Takes outcomes whose epoch is known. `watermarks` are the newest watermarks by partition, kept by the caller.

    An outcome is ripe `ripe_after` milliseconds after its window's start, by the watermarks of its own partition. Once
    unhealthy, the trial keeps only its totals.
    """

    def __init__(self, started: RolloutStarted, epochs: Epochs, watermarks: Mapping[int, int]) -> None:
        self.started = started
        self.metric = Accuracy()
        self.ripe_after: Final = started.policy.window + started.ripe_age
        self._epochs = epochs
        self._watermarks = watermarks
        policy = started.policy
        self._test = EProcess(alpha=policy.alpha, psi0=policy.tolerated_odds_ratio, max_labels=policy.max_labels)
        self._totals = Totals()
        self.ignored = Ignored()
        self._free()

    @property
    def unhealthy(self) -> bool:
        return self._test.unhealthy

    def take(self, arrived: Sequence[Batch], *, in_request_order: bool = False) -> None:
        """Outcomes that came: they wait until their window is ripe, or enter their block at once where it is.

        They are taken as they come, or by window and then by the hash of the request id: never by the arrival of labels
        that waited together, which may depend on the outcome.
        """
        entering = []
        for batch in arrived:
            key, watermark = batch.key, self._watermarks.get(batch.partition)
            if not self._is_ours(key):
                self.ignored.not_ours += len(batch.rows)
            elif not self._epochs.has_both_lanes(epoch_of(key)):
                self.ignored.one_sided += len(batch.rows)
            elif watermark is not None and key.window + self.ripe_after <= watermark:
                entering.append(batch)
            else:
                self._blocks.expect(key)
                self._unripe.add(batch)
        self._enter(entering, in_request_order=in_request_order)

    def ripen(self, partition: int) -> None:
        """After a watermark of the partition."""
        ripe = self._unripe.take_until(partition, self._watermarks[partition] - self.ripe_after)
        self._enter(ripe, in_request_order=True)

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
        return len(self._unripe)

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

    def state(self) -> dict[str, Any]:
        """For a snapshot, without epochs and watermarks."""
        return {
            "started": asdict(self.started),
            "test": asdict(self._test.state),
            "totals": asdict(self._totals),
            "ignored": asdict(self.ignored),
            "unripe": self._unripe.state(),
            "entities": self._entities.state(),
            "blocks": self._blocks.state(),
        }

    @classmethod
    def restored(cls, state: dict[str, Any], epochs: Epochs, watermarks: Mapping[int, int]) -> "Trial":
        """Raises LookupError, TypeError or ValueError where the state is none."""
        fields, totals = state["started"], state["totals"]
        versions, policy = Versions(**fields["versions"]), Policy.of_fields(fields["policy"])
        trial = cls(RolloutStarted(**{**fields, "versions": versions, "policy": policy}), epochs, watermarks)
        trial._test.state = Capital(**state["test"])
        trial._totals = Totals(**{**totals, "newest": totals["newest"] and Block(**totals["newest"])})
        trial.ignored = Ignored(**state["ignored"])
        trial._unripe = Pool.restored(state["unripe"])
        trial._entities = Entities.restored(policy, state["entities"])
        trial._blocks = Blocks.restored(policy, epochs, state["blocks"])
        return trial

    def _is_ours(self, key: OutcomeKey) -> bool:
        if key.metric != self.metric.name or key.lane not in LANES:
            return False
        versions = self.started.versions
        bound = versions.canary if key.lane == CANARY else versions.stable
        return bound is None or bound == key.model_version

    def _enter(self, batches: Sequence[Batch], *, in_request_order: bool) -> None:
        """Into the blocks, the first of each entity."""
        batches = [batch for batch in batches if len(batch.rows)]
        if not batches:
            return
        lengths = [len(batch.rows) for batch in batches]
        rows = together([batch.rows for batch in batches])
        window = np.repeat([batch.key.window for batch in batches], lengths)
        is_canary = np.repeat([batch.key.lane == CANARY for batch in batches], lengths)
        order = np.lexsort((rows["order"], window)) if in_request_order else np.arange(len(rows))
        entering = np.empty(len(rows), np.bool_)
        entering[order] = self._entities.admit(rows["entity"][order], window[order], is_canary[order])
        starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
        labels = np.add.reduceat(entering, starts, dtype=np.int64).tolist()
        bad = np.add.reduceat(entering & rows["bad"], starts, dtype=np.int64).tolist()
        newest = np.maximum.reduceat(np.where(entering, rows["time"], 0), starts).tolist()
        now = max(self._watermarks.values())
        for batch, entered, bad_ones, newest_label in zip(batches, labels, bad, newest, strict=True):
            if entered:
                self._blocks.add(batch.key, entered, bad_ones, newest_label, now)

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
        self._unripe = Pool()
        self._entities = Entities(policy)
        self._blocks = Blocks(policy, self._epochs)
