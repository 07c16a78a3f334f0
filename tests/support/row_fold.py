"""The fold's verdicts once more, slow and plain: one outcome at a time, with lists, sets and sorting."""

from collections import Counter
from dataclasses import dataclass, field

from stream_router.core.deciding.blocks import Block, full_size
from stream_router.core.deciding.e_process import EProcess
from stream_router.core.evidence import EpochInForce, Evidence, Outcome, RolloutStarted
from stream_router.core.policy import CLOCK_SKEW_MS


@dataclass
class RowFold:
    """One rollout that no later one replaces; its start record comes before its watermarks.

    `bets` are the blocks as they were bet on, each with the record's offset and the e-value after it; `decided_at` is
    the offset of the verdict.
    """

    rollout: int = 1
    bets: list[tuple[int, Block, float]] = field(default_factory=list)
    decided_at: int | None = None
    left_out: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._started: RolloutStarted | None = None
        self._epochs: dict[tuple[int, str], EpochInForce] = {}
        self._watermarks: dict[int, int] = {}
        self._waiting: list[tuple[int, Outcome]] = []
        self._unripe: list[tuple[int, Outcome]] = []
        self._seen: set[tuple[int, int]] = set()
        self._open: dict[tuple[int, str], Block] = {}
        self._last_window: dict[tuple[int, str], int] = {}
        self._given_up: set[tuple[int, int, int, str]] = set()

    def on_record(self, offset: int, evidence: Evidence) -> None:
        if self.decided_at is not None:
            return
        self._learn(evidence)
        for outcomes in evidence.outcomes:
            for outcome in outcomes.rows():
                if outcome.rollout == self.rollout:
                    self._arrive(evidence.partition, outcome)
        if evidence.watermark is not None:
            self._ripen(evidence.partition, evidence.watermark)
        self._close(offset, at_watermark=evidence.watermark is not None)

    def _learn(self, evidence: Evidence) -> None:
        started, in_force = evidence.rollout_started, evidence.epoch_in_force
        if started and started.rollout == self.rollout and not self._started:
            self._started, policy = started, started.policy
            self._test = EProcess(alpha=policy.alpha, psi0=policy.tolerated_odds_ratio, max_labels=policy.max_labels)
        if in_force and in_force.rollout == self.rollout:
            self._epochs.setdefault((in_force.epoch, in_force.digest), in_force)
        if started or in_force:
            waited, self._waiting = self._waiting, []
            for partition, outcome in sorted(waited, key=lambda item: (item[1].window, item[1].order)):
                self._arrive(partition, outcome)

    def _arrive(self, partition: int, outcome: Outcome) -> None:
        epoch = outcome.epoch, outcome.digest
        versions = self._started and {
            "stable": self._started.versions.stable,
            "canary": self._started.versions.canary,
        }
        if any(given_up[0] >= outcome.window and given_up[1:] == (partition, *epoch) for given_up in self._given_up):
            self.left_out["unattributed"] += 1
        elif versions is None or epoch not in self._epochs:
            self._waiting.append((partition, outcome))
        elif outcome.metric != "accuracy" or versions.get(outcome.lane, "none") not in (None, outcome.model_version):
            self.left_out["not_ours"] += 1
        elif min(self._epochs[epoch].weights.values()) == 0:
            self.left_out["one_sided"] += 1
        elif self._is_ripe(partition, outcome):
            self._enter(outcome)
        else:
            self._expect(outcome)
            self._unripe.append((partition, outcome))

    def _is_ripe(self, partition: int, outcome: Outcome, skew: int = 0) -> bool:
        ripe_at = outcome.window + self._started.policy.window + self._started.ripe_age + skew
        return self._watermarks.get(partition, ripe_at - 1) >= ripe_at

    def _ripen(self, partition: int, watermark: int) -> None:
        self._watermarks[partition] = max(watermark, self._watermarks.get(partition, watermark))
        if not self._started:
            return
        ripe, self._unripe = _parted(self._unripe, lambda item: item[0] == partition and self._is_ripe(*item))
        for _, outcome in sorted(ripe, key=lambda item: (item[1].window, item[1].order)):
            self._enter(outcome)
        late, self._waiting = _parted(
            self._waiting, lambda item: item[0] == partition and self._is_ripe(*item, CLOCK_SKEW_MS)
        )
        self.left_out["unattributed"] += len(late)
        self._given_up |= {(outcome.window, partition, outcome.epoch, outcome.digest) for _, outcome in late}

    def _expect(self, outcome: Outcome) -> None:
        epoch = outcome.epoch, outcome.digest
        self._last_window[epoch] = max(outcome.window, self._last_window.get(epoch, outcome.window))

    def _enter(self, outcome: Outcome) -> None:
        period = self._started.policy.entity_period
        entity = outcome.window // period if period else 0, outcome.entity
        if entity in self._seen:
            self.left_out["repeats"] += 1
            return
        self._seen.add(entity)
        self._expect(outcome)
        epoch = outcome.epoch, outcome.digest
        if epoch not in self._open:
            self._open[epoch] = Block(
                rollout=self.rollout,
                metric=outcome.metric,
                epoch=outcome.epoch,
                digest=outcome.digest,
                opened_at=max(self._watermarks.values()),
            )
        self._open[epoch].add(outcome.lane, 1, int(outcome.bad), outcome.time)

    def _close(self, offset: int, *, at_watermark: bool) -> None:
        for epoch in sorted(self._open):
            if self._is_full(epoch) or (at_watermark and self._is_old(epoch)):
                block = self._open.pop(epoch)
                self._test.update(block.stable_labels, block.canary_labels, block.stable_bad, block.canary_bad)
                self.bets.append((offset, block, self._test.e_value))
                if self._test.unhealthy:
                    self.decided_at = offset
                    return

    def _is_full(self, epoch: tuple[int, str]) -> bool:
        return self._open[epoch].total >= full_size(max(self._epochs[epoch].weights["canary"], 1 / 21))

    def _is_old(self, epoch: tuple[int, str]) -> bool:
        policy, now = self._started.policy, max(self._watermarks.values())
        mature = self._last_window[epoch] + policy.matures_after <= now
        ended = max(number for number, _ in self._epochs) > epoch[0]
        return now - self._open[epoch].opened_at >= policy.block_age or (mature and ended)


def _parted(items, is_chosen):
    chosen, others = [], []
    for item in items:
        (chosen if is_chosen(item) else others).append(item)
    return chosen, others
