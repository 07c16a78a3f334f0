"""The fold's verdicts once more, slow and plain: one outcome at a time, with lists, sets and sorting."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from stream_router.core.deciding.blocks import Block, full_size
from stream_router.core.deciding.forward import ForwardTest
from stream_router.core.deciding.metrics import MetricTest
from stream_router.core.deciding.metrics.registry import judged
from stream_router.core.deciding.rows import rows_of
from stream_router.core.evidence import EpochInForce, Evidence, Outcome, RolloutStarted, in_columns
from stream_router.core.policy import CLOCK_SKEW_MS

KIND_OF = {
    "accuracy": "accuracy",
    "error_rate": "error",
    "prediction_mix": "prediction",
    "latency_p50": "latency",
    "latency_p99": "latency",
    "model_latency_p50": "model_latency",
    "model_latency_p99": "model_latency",
    "attrition": "labelling",
    "coverage": "labelling",
    "revisions": "labelling",
}
Place = tuple[str, int, str]
"""Kind, epoch, digest."""


@dataclass
class RowFold:
    """One rollout that no later one replaces; its start record comes before its watermarks.

    `bets` are the blocks as they were bet on, each with the record's offset and the e-values after it; `fallen` are the
    metrics that became unhealthy and the offsets at which they did, `healthy` those of the other verdict; `decided_at`
    is the offset of the verdict. What the tests make of a block is their own: here it is only said which outcomes are
    in it, and when it is closed.
    """

    rollout: int = 1
    bets: list[tuple[int, Block, dict[str, float]]] = field(default_factory=list)
    fallen: dict[str, int] = field(default_factory=dict)
    healthy: dict[str, int] = field(default_factory=dict)
    decided_at: int | None = None
    left_out: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._started: RolloutStarted | None = None
        self._tests: dict[str, MetricTest] = {}
        self._epochs: dict[tuple[int, str], EpochInForce] = {}
        self._watermarks: dict[int, int] = {}
        self._waiting: list[tuple[int, Outcome]] = []
        self._unripe: list[tuple[int, Outcome]] = []
        self._seen: set[tuple[str, int, int]] = set()
        self._open: dict[Place, Block] = {}
        self._last_window: dict[Place, int] = {}
        self._forward: dict[str, ForwardTest] = {}
        self._young: list[tuple[int, Outcome]] = []
        self._mature: dict[tuple[int, str], list[Outcome]] = {}
        self._given_up: set[tuple[int, int, str, int, str]] = set()

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
            self._started = started
            self._tests = {metric.name: metric.test(started, {}) for metric, _ in judged(started.policy)}
            margins = {one.name: one.margin for one in started.policy.metrics}
            self._forward = {name: ForwardTest(margins[name], started.policy.beta) for name in self._tests}
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
        place = partition, outcome.metric, *epoch
        if self._started and outcome.metric not in self._kinds():
            return
        if any(given_up[0] >= outcome.window and given_up[1:] == place for given_up in self._given_up):
            self.left_out["unattributed"] += 1
        elif versions is None or epoch not in self._epochs:
            self._waiting.append((partition, outcome))
        elif versions.get(outcome.lane, "none") not in (None, outcome.model_version):
            self.left_out["not_ours"] += 1
        elif min(self._epochs[epoch].weights.values()) == 0:
            self.left_out["one_sided"] += 1
        elif self._is_ripe(partition, outcome):
            self._enter(partition, outcome)
        else:
            self._expect(outcome)
            self._unripe.append((partition, outcome))

    def _kinds(self) -> list[str]:
        """In the policy's order."""
        return list(dict.fromkeys(KIND_OF[name] for name in self._tests))

    def _is_ripe(self, partition: int, outcome: Outcome, skew: int = 0) -> bool:
        policy = self._started.policy
        after = {"accuracy": self._started.ripe_age, "labelling": policy.label_horizon}
        ripe_at = outcome.window + policy.window + after.get(outcome.metric, policy.prediction_deadline) + skew
        return self._watermarks.get(partition, ripe_at - 1) >= ripe_at

    def _ripen(self, partition: int, watermark: int) -> None:
        self._watermarks[partition] = max(watermark, self._watermarks.get(partition, watermark))
        if not self._started:
            return
        ripe, self._unripe = _parted(self._unripe, lambda item: item[0] == partition and self._is_ripe(*item))
        for _, outcome in sorted(ripe, key=lambda item: (item[1].window, item[1].order)):
            self._enter(partition, outcome)
        mature, self._young = _parted(
            self._young,
            lambda item: item[0] == partition and self._watermarks[partition] >= self._matures_at(item[1]),
        )
        for _, outcome in mature:
            self._mature.setdefault((outcome.epoch, outcome.digest), []).append(outcome)
        late, self._waiting = _parted(
            self._waiting, lambda item: item[0] == partition and self._is_ripe(*item, CLOCK_SKEW_MS)
        )
        self.left_out["unattributed"] += len(late)
        self._given_up |= {(one.window, partition, one.metric, one.epoch, one.digest) for _, one in late}

    def _expect(self, outcome: Outcome) -> None:
        place = outcome.metric, outcome.epoch, outcome.digest
        self._last_window[place] = max(outcome.window, self._last_window.get(place, outcome.window))

    def _enter(self, partition: int, outcome: Outcome) -> None:
        if outcome.metric == "error":
            second = outcome.metric, outcome.lane, outcome.time // 1_000
            if second in self._seen:
                return
            self._seen.add(second)
        period = self._started.policy.entity_period
        entity = outcome.metric, outcome.window // period if period else 0, outcome.entity
        if entity in self._seen and outcome.metric not in ("latency", "model_latency"):
            self.left_out["repeats"] += 1
            return
        self._seen.add(entity)
        if outcome.metric == "accuracy":
            self._young.append((partition, outcome))
        self._expect(outcome)
        place = outcome.metric, outcome.epoch, outcome.digest
        if place not in self._open:
            self._open[place] = Block(
                rollout=self.rollout,
                metric=outcome.metric,
                epoch=outcome.epoch,
                digest=outcome.digest,
                opened_at=max(self._watermarks.values()),
            )
        self._open[place].add(outcome.lane, rows_of(in_columns([outcome])[0]))

    def _close(self, offset: int, *, at_watermark: bool) -> None:
        kinds = self._kinds()
        for place in sorted(self._open, key=lambda place: (kinds.index(place[0]), *place[1:])):
            if self._is_full(place) or (at_watermark and self._is_old(place)):
                block = self._open.pop(place)
                readers = {name: test for name, test in self._tests.items() if KIND_OF[name] == block.metric}
                for name, test in readers.items():
                    counts = None if test.unhealthy else test.update(block)
                    if counts and name != "accuracy":
                        self._speak(name, offset, counts)
                    if test.unhealthy:
                        self.fallen.setdefault(name, offset)
                self.bets.append((offset, block, {name: test.e_value for name, test in readers.items()}))
        for epoch in sorted(self._mature):
            outcomes = self._mature[epoch]
            if len(outcomes) >= full_size(max(self._epochs[epoch].weights["canary"], 1 / 21)):
                lanes = [[one.bad for one in outcomes if one.lane == lane] for lane in ("stable", "canary")]
                if "accuracy" in self._tests:
                    self._speak("accuracy", offset, [n for bad in lanes for n in (len(bad), sum(bad))])
                del self._mature[epoch]
        roles = {name: self._started.policy.metric(name).role for name in self.fallen} if self._started else {}
        if "guardrail" in roles.values():
            self.decided_at = offset

    def _speak(self, name: str, offset: int, counts: Sequence[int]) -> None:
        n_a, e_a, n_b, e_b = counts
        if not self._tests[name].unhealthy:
            self._forward[name].update(n_a, n_b, e_a, e_b)
            if self._forward[name].healthy:
                self.healthy.setdefault(name, offset)

    def _matures_at(self, outcome: Outcome) -> int:
        policy = self._started.policy
        return outcome.window + policy.window + policy.label_horizon

    def _is_full(self, place: Place) -> bool:
        return self._open[place].total >= full_size(max(self._epochs[place[1:]].weights["canary"], 1 / 21))

    def _is_old(self, place: Place) -> bool:
        policy, now = self._started.policy, max(self._watermarks.values())
        mature = self._last_window[place] + policy.matures_after <= now
        ended = max(number for number, _ in self._epochs) > place[1]
        return now - self._open[place].opened_at >= policy.block_age or (mature and ended)


def _parted(items, is_chosen):
    chosen, others = [], []
    for item in items:
        (chosen if is_chosen(item) else others).append(item)
    return chosen, others
