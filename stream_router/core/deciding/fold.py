"""The fold of R.evidence: windows, blocks and verdicts, from its records in order and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from stream_router.core.deciding.epochs import Epoch, Epochs, epoch_of
from stream_router.core.deciding.ripeness import Ripeness
from stream_router.core.deciding.trial import BlockClosed, Ignored, Trial
from stream_router.core.deciding.unripe_outcomes import request_order
from stream_router.core.deciding.verdict import Verdict
from stream_router.core.deciding.windows import WindowedAccuracy, Windows
from stream_router.core.evidence import Evidence, Outcome
from stream_router.core.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What one record brought. verdicts: unhealthy ones only, each once, at the record at which it fell."""

    windows: tuple[WindowedAccuracy, ...] = ()
    blocks: tuple[BlockClosed, ...] = ()
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A started rollout at a moment, for display.

    verdict: unhealthy, or inconclusive so far. Outcomes not yet bet on: unripe, in_open_blocks, and waiting for a
    control record. Outcomes left out: ignored, and repeats, of entities that had had one.
    """

    verdict: Verdict
    unripe: int
    in_open_blocks: int
    waiting: int
    repeats: int
    ignored: Ignored
    entities_used_up: bool
    max_labels_reached: bool


class _Waiting(NamedTuple):
    partition: int
    outcome: Outcome


class _Rollout:
    """One rollout, from the first record that names it on.

    Earlier watermarks are not known to it, so that a replay from that record gives what a replay from the beginning
    gives. Outcomes wait for the rollout's start record and for their epoch's record.
    """

    def __init__(self, rollout: int, first_offset: int) -> None:
        self.rollout = rollout
        self.first_offset = first_offset
        self.epochs = Epochs()
        self.trial: Trial | None = None
        self.waiting: list[_Waiting] = []
        self._watermarks: dict[int, int] = {}

    def on_record(self, offset: int, evidence: Evidence) -> tuple[list[BlockClosed], Verdict | None]:
        """Blocks that closed, and the verdict if it fell at this record."""
        if self.trial and self.trial.unhealthy:
            return [], None
        outcomes = self._released(evidence) + self._named(evidence)
        for item in outcomes:
            if self.trial and epoch_of(item.outcome) in self.epochs:
                self.trial.take(*item)
            else:
                self.waiting.append(item)
        at_watermark = self._watermark(evidence)
        if self.trial is None:
            return [], None
        blocks = self.trial.close_blocks(at_watermark=at_watermark)
        return blocks, self.trial.verdict(offset) if self.trial.unhealthy else None

    def _named(self, evidence: Evidence) -> list[_Waiting]:
        if evidence.partition is None:
            return []
        return [
            _Waiting(evidence.partition, outcome)
            for outcomes in evidence.outcomes
            if outcomes.key.rollout == self.rollout
            for outcome in outcomes.rows()
        ]

    def _released(self, evidence: Evidence) -> list[_Waiting]:
        """Learn from a control record; returns what waited, if something may wait no longer."""
        started, in_force = evidence.rollout_started, evidence.epoch_in_force
        starts = started is not None and started.rollout == self.rollout and self.trial is None
        if started is not None and starts:
            self.trial = Trial(started, self.epochs, self._watermarks)
        changes = in_force is not None and in_force.rollout == self.rollout
        if in_force is not None and changes:
            self.epochs.add(in_force)
        if not (starts or changes):
            return []
        released, self.waiting = self.waiting, []
        return sorted(released, key=lambda item: request_order(item.outcome))

    def _watermark(self, evidence: Evidence) -> bool:
        partition, watermark = evidence.partition, evidence.watermark
        if partition is None or watermark is None:
            return False
        self._watermarks[partition] = max(watermark, self._watermarks.get(partition, watermark))
        if self.trial:
            self.trial.ripen(partition)
        return True


class EvidenceFold:
    """Folds every record of R.evidence, once each and in order.

    `policy` is the route's current one: the length and retention of windows, and the ripe age to be, follow it; a
    rollout is judged by the policy in its start record. `partitions` is the number of input partitions. Retention:
    windows until they can no longer change, rollouts until a later one is in force.
    """

    def __init__(self, policy: Policy, partitions: int) -> None:
        self.windows = Windows(policy)
        self.rollout_in_force = 0
        self._partitions = partitions
        self._ripeness = Ripeness(policy)
        self._watermarks: dict[int, int] = {}
        self._rollouts: dict[int, _Rollout] = {}
        self._epochs: set[Epoch] = set()
        self._offset = -1

    def on_record(self, offset: int, evidence: Evidence) -> Outputs:
        self._offset = offset
        self._learn(offset, evidence)
        blocks: list[BlockClosed] = []
        verdicts: list[Verdict] = []
        for rollout in self._rollouts.values():
            closed, verdict = rollout.on_record(offset, evidence)
            blocks += closed
            if verdict:
                verdicts.append(verdict)
        changed = self.windows.add(offset, evidence.counts)
        windows = tuple(self.windows[key] for key in changed)
        self._watermark(evidence)
        return Outputs(windows=windows, blocks=tuple(blocks), verdicts=tuple(verdicts))

    @property
    def clock(self) -> int | None:
        """The newest watermark of any partition."""
        return max(self._watermarks.values(), default=None)

    @property
    def ripe_age(self) -> int:
        """What a rollout that starts now would wait for, milliseconds after a window's end."""
        return self._ripeness.ripe_age

    @property
    def unstarted(self) -> tuple[int, ...]:
        """Rollouts that evidence names and that have no start record."""
        return tuple(sorted(number for number, rollout in self._rollouts.items() if rollout.trial is None))

    def is_started(self, rollout: int) -> bool:
        """Whether no start record is wanted: there is one, or a later rollout is in force."""
        known = self._rollouts.get(rollout)
        return rollout < self.rollout_in_force or (known is not None and known.trial is not None)

    def is_known(self, epoch: int, digest: str) -> bool:
        """Whether this split's control record has been read."""
        return (epoch, digest) in self._epochs

    def first_offset(self, rollout: int) -> int | None:
        """Offset of the first record that names the rollout; None if none did or a later one is in force."""
        known = self._rollouts.get(rollout)
        return known.first_offset if known else None

    @property
    def replay_from(self) -> int | None:
        """Offset from which a replay gives the same verdicts and windows from now on; None if from here."""
        offsets = [rollout.first_offset for rollout in self._rollouts.values()]
        if self.windows.first_offset is not None:
            offsets.append(self.windows.first_offset)
        return min(offsets, default=None)

    def summary(self, rollout: int) -> Summary | None:
        """None where the rollout has not started or a later one is in force."""
        known = self._rollouts.get(rollout)
        if known is None or known.trial is None:
            return None
        trial = known.trial
        return Summary(
            verdict=trial.verdict(self._offset),
            unripe=trial.unripe,
            in_open_blocks=trial.in_open_blocks,
            waiting=len(known.waiting),
            repeats=trial.repeats,
            ignored=trial.ignored,
            entities_used_up=trial.entities_used_up,
            max_labels_reached=trial.max_labels_reached,
        )

    def _learn(self, offset: int, evidence: Evidence) -> None:
        in_force = evidence.epoch_in_force
        if in_force is not None:
            self._epochs.add((in_force.epoch, in_force.digest))
            self.rollout_in_force = max(self.rollout_in_force, in_force.rollout)
        for rollout in sorted(set(_rollouts_in(evidence))):
            if rollout and rollout not in self._rollouts:
                self._rollouts[rollout] = _Rollout(rollout, offset)
        for rollout in [rollout for rollout in self._rollouts if rollout < self.rollout_in_force]:
            del self._rollouts[rollout]

    def _watermark(self, evidence: Evidence) -> None:
        partition, watermark = evidence.partition, evidence.watermark
        if partition is not None and watermark is not None:
            self._watermarks[partition] = max(watermark, self._watermarks.get(partition, watermark))
        self._ripeness.on_record(evidence, self.clock)
        if len(self._watermarks) >= self._partitions:
            self.windows.forget(min(self._watermarks.values()))


def _rollouts_in(evidence: Evidence) -> Iterator[int]:
    """Every rollout that the record names; 0 is none."""
    for outcomes in evidence.outcomes:
        yield outcomes.key.rollout
    for entries in (evidence.counts, evidence.silences):
        for entry in entries:
            yield entry.rollout
    if evidence.rollout_started:
        yield evidence.rollout_started.rollout
    if evidence.epoch_in_force:
        yield evidence.epoch_in_force.rollout
