"""A trial: one started rollout under the tests of its policy's metrics, from its outcomes to its verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from stream_router.core.deciding.blocks import Block
from stream_router.core.deciding.epochs import Epochs, epoch_of
from stream_router.core.deciding.judgement import Judgement
from stream_router.core.deciding.kind_trial import KindSummary, KindTrial
from stream_router.core.deciding.metrics.registry import judged
from stream_router.core.deciding.numbers import Counts
from stream_router.core.deciding.rows import Batch
from stream_router.core.deciding.verdict import Verdict
from stream_router.core.evidence import OutcomeKey, RolloutStarted
from stream_router.core.lane import CANARY, LANES
from stream_router.core.policy import Policy
from stream_router.core.routing.applied_split import Versions


class BlockClosed(NamedTuple):
    """A block that was bet on, and the e-value after it of each metric that reads its kind.

    bets: the outcomes that went into a test of whether canary is worse, by metric; see MetricTest.
    """

    block: Block
    e_values: Mapping[str, float]
    bets: Mapping[str, Counts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What one record brought. verdicts: unhealthy ones only, each once, at the record at which it fell.

    Those of signals are among them; at one record the one that decides comes first. healthy: the metrics that became
    healthy at this record, each once in a rollout.
    """

    blocks: tuple[BlockClosed, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    healthy: tuple[Verdict, ...] = ()

    def plus(self, other: "Outputs") -> "Outputs":
        return Outputs(
            blocks=self.blocks + other.blocks,
            verdicts=self.verdicts + other.verdicts,
            healthy=self.healthy + other.healthy,
        )


@dataclass(slots=True)
class Ignored:
    """Outcomes that the tests do not take, of the kinds that they read.

    not_ours: of another lane or version than the rollout's; one_sided: of a split in which a lane had no share;
    unattributed: of an epoch that had no control record until long after they were ripe.
    """

    not_ours: int = 0
    one_sided: int = 0
    unattributed: int = 0


class Trial:
    """Takes outcomes whose epoch is known. `watermarks` are the newest watermarks by partition, kept by the caller.

    Each kind of outcomes that a metric reads goes its own way into blocks; a block is bet on by every metric of its
    kind. Once the rollout is decided the trial is freed: it keeps only what its tests have come to.
    """

    def __init__(
        self, started: RolloutStarted, epochs: Epochs, watermarks: Mapping[int, int], texts: Mapping[float, str]
    ) -> None:
        self.started = started
        self.ignored = Ignored()
        self._epochs = epochs
        self._watermarks = watermarks
        self._judgements = [Judgement(metric, policy, started, texts) for metric, policy in judged(started.policy)]
        self._kinds: dict[str, KindTrial] = {}
        self.free()

    def reads(self, kind: str) -> bool:
        return kind in self._kinds

    def ripe_after(self, kind: str) -> int:
        """Milliseconds from a window's start after which outcomes of a kind that it reads are ripe."""
        return self._kinds[kind].ripe_after

    def take(self, arrived: Sequence[Batch], *, in_request_order: bool = False) -> None:
        """Outcomes that came, of kinds that are read; see KindTrial."""
        by_kind: dict[str, list[Batch]] = {}
        for batch in arrived:
            if not self._is_ours(batch.key):
                self.ignored.not_ours += len(batch.rows)
            elif not self._epochs.has_both_lanes(epoch_of(batch.key)):
                self.ignored.one_sided += len(batch.rows)
            else:
                by_kind.setdefault(batch.key.metric, []).append(batch)
        for kind, batches in by_kind.items():
            self._kinds[kind].take(batches, in_request_order=in_request_order)

    def ripen(self, partition: int) -> None:
        """After a watermark of the partition."""
        for kind in self._kinds.values():
            kind.ripen(partition)

    def close_blocks(self, offset: int, *, at_watermark: bool) -> Outputs:
        """At the end of the record at `offset`: bets on the blocks that close; with the verdicts that fall by that.

        Those that roll back come first, else in the policy's order.
        """
        closed = []
        for name, kind in self._kinds.items():
            readers = [one for one in self._judgements if one.metric.kind == name]
            for block in kind.close_blocks(at_watermark=at_watermark):
                bets: dict[str, Counts] = {}
                for one in readers:
                    counts = one.update(block)
                    if counts:
                        bets[one.metric.name] = counts
                    if counts and not kind.waits_for_maturity:
                        one.speak_for(counts)
                closed.append(BlockClosed(block, {one.metric.name: one.e_value for one in readers}, bets))
            for counts in kind.close_mature():
                for one in readers:
                    one.speak_for(counts)
        verdicts = [one.settle(offset, self._remarks(one)) for one in self._judgements if one.falls]
        healthy = [one.settle_passed(offset, self._remarks(one)) for one in self._judgements if one.passes]
        return Outputs(
            blocks=tuple(closed),
            verdicts=tuple(sorted(verdicts, key=lambda one: not one.rolls_back)),
            healthy=tuple(healthy),
        )

    @property
    def fallen(self) -> tuple[Verdict, ...]:
        """Healthy and unhealthy ones, each as of the record at which it fell."""
        return tuple(fell for one in self._judgements for fell in (one.passed, one.final) if fell)

    def verdicts(self, offset: int) -> tuple[Verdict, ...]:
        """One a metric, in the policy's order, as of the record at `offset`."""
        return tuple(one.verdict(offset, self._remarks(one)) for one in self._judgements)

    @property
    def kinds(self) -> dict[str, KindSummary]:
        """Of each kind that a metric reads."""
        return {name: kind.summary for name, kind in self._kinds.items()}

    @property
    def max_labels_reached(self) -> bool:
        """Whether every guardrail has been fed so many outcomes of canary, undecided.

        The tests go on, since they hold at any length; what the policy says about the rollout is the caller's.
        """
        fed = [one.canary_outcomes for one in self._judgements if one.policy.role == "guardrail"]
        return bool(fed) and min(fed) >= self.started.policy.max_labels

    def free(self) -> None:
        """Nothing is taken any more: forget all outcomes and entities."""
        self._kinds = {}
        for one in self._judgements:
            if one.metric.kind not in self._kinds:
                self._kinds[one.metric.kind] = KindTrial(self.started, one.metric, self._epochs, self._watermarks)

    def state(self) -> dict[str, Any]:
        """For a snapshot, without epochs and watermarks."""
        return {
            "started": asdict(self.started),
            "ignored": asdict(self.ignored),
            "kinds": {name: kind.state() for name, kind in self._kinds.items()},
            "judgements": {one.metric.name: one.state() for one in self._judgements},
        }

    @classmethod
    def restored(
        cls, state: Mapping[str, Any], epochs: Epochs, watermarks: Mapping[int, int], texts: Mapping[float, str]
    ) -> "Trial":
        """Raises LookupError, TypeError or ValueError where the state is none."""
        fields = state["started"]
        versions, policy = Versions(**fields["versions"]), Policy.of_fields(fields["policy"])
        started = RolloutStarted(**{**fields, "versions": versions, "policy": policy})
        trial = cls(started, epochs, watermarks, texts)
        trial.ignored = Ignored(**state["ignored"])
        for name, kind in trial._kinds.items():
            kind.restore(started, epochs, state["kinds"][name])
        for one in trial._judgements:
            one.restore(state["judgements"][one.metric.name])
        return trial

    def _is_ours(self, key: OutcomeKey) -> bool:
        if key.lane not in LANES:
            return False
        versions = self.started.versions
        bound = versions.canary if key.lane == CANARY else versions.stable
        return bound is None or bound == key.model_version

    def _remarks(self, one: Judgement) -> tuple[str, ...]:
        """What else a verdict has to say."""
        if one.is_unhealthy:
            return ()
        remarks = []
        if one.canary_outcomes >= self.started.policy.max_labels:
            remarks.append(f"no decision within {self.started.policy.max_labels:,} canary labels")
        if self._kinds[one.metric.kind].entities_used_up:
            remarks.append("each user or key in canary's share has been counted, and no new ones come")
        return tuple(remarks)
