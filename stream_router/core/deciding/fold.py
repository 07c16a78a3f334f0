"""The fold of R.evidence: windows, blocks and verdicts, from its records in order and nothing else."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from stream_router.core.deciding.epochs import Epoch
from stream_router.core.deciding.kind_trial import KindSummary
from stream_router.core.deciding.ripeness import RipeAge, Ripeness
from stream_router.core.deciding.rollout_evidence import RolloutEvidence, rollouts_in
from stream_router.core.deciding.trial import Ignored, Outputs
from stream_router.core.deciding.verdict import Verdict, overall
from stream_router.core.deciding.windows import Windows
from stream_router.core.evidence import ACCURACY, Evidence, RolloutStarted
from stream_router.core.policy import CLOCK_SKEW_MS, Policy

FORMAT: Final = 4
"""Of snapshots: raised with whatever changes what they hold or what it means."""

_TEXTS: Final = 1_000
"""Names of predicted values that are kept, of rollouts that no later one has replaced: they serve display alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A started rollout at a moment, for display.

    verdicts: one a metric that has a test, in the policy's order, then the plain rule that has decided. verdict: the
    one that decides, else what `overall` says. kinds: by kind of outcomes. Outcomes that wait for a control record are
    `waiting`; those left out are ignored, or repeats. holds: why a plain rule lets it not go forward.
    limits: what each absolute limit sees.
    """

    verdict: Verdict
    verdicts: tuple[Verdict, ...]
    kinds: Mapping[str, KindSummary]
    waiting: int
    ignored: Ignored
    holds: tuple[str, ...]
    limits: tuple[str, ...]
    max_labels_reached: bool

    @property
    def unripe(self) -> int:
        """Outcomes whose window is not ripe yet, of all kinds."""
        return sum(kind.unripe for kind in self.kinds.values())

    @property
    def in_open_blocks(self) -> int:
        """Outcomes in blocks that have not been bet on, of all kinds."""
        return sum(kind.in_open_blocks for kind in self.kinds.values())

    @property
    def repeats(self) -> int:
        """Outcomes of entities that had had one, of all kinds."""
        return sum(kind.repeats for kind in self.kinds.values())

    @property
    def entities_used_up(self) -> bool:
        """Whether canary brings no new entities any more to any kind."""
        return any(kind.entities_used_up for kind in self.kinds.values())

    @property
    def left_out(self) -> dict[str, int]:
        """Outcomes that the tests did not take, by reason."""
        return asdict(self.ignored) | {"repeats": self.repeats}


class EvidenceFold:
    """Folds every record of R.evidence, once each and in order.

    `policy` is the route's current one: the length and retention of windows, and the ripe age to be, follow it; a
    rollout is judged by the policy in its start record. `partitions` is the number of input partitions. Retention:
    windows until they can no longer change, rollouts until a later one is in force, and those without a start record
    until nothing of them waits and the label horizon is over.

    A watermark further beyond the time at which the broker appended it than clocks may differ is refused: as if the
    record had none. `refused_watermarks` counts them, `never_started` the outcomes given up of rollouts that had no
    start record.
    """

    def __init__(self, policy: Policy, partitions: int) -> None:
        self.windows = Windows(policy)
        self.rollout_in_force = 0
        self.refused_watermarks = self.never_started = 0
        self._policy = policy
        self._partitions = partitions
        self._ripeness = Ripeness(policy)
        self._watermarks: dict[int, int] = {}
        self._rollouts: dict[int, RolloutEvidence] = {}
        self._epochs: set[Epoch] = set()
        self._texts: dict[float, str] = {}
        self._told_in: dict[float, int] = {}
        """The newest rollout in which each text was told: each owner tells it once a rollout."""
        self._last_label = (0, 0)
        self._over = 0
        self._offset = -1

    def on_record(self, offset: int, evidence: Evidence) -> Outputs:
        self._offset = offset
        if _is_ahead(evidence):
            self.refused_watermarks += 1
            evidence = replace(evidence, watermark=None)
        self._learn(offset, evidence)
        outputs = Outputs()
        for rollout in list(self._rollouts.values()):
            before = rollout.given_up_unstarted
            outputs = outputs.plus(rollout.on_record(offset, evidence))
            self.never_started += rollout.given_up_unstarted - before
            if rollout.is_nothing:
                del self._rollouts[rollout.rollout]
                self._epochs.difference_update(rollout.epochs)
        self.windows.add(offset, evidence.counts)
        for rollout in self._rollouts.values():
            broken = rollout.ask_rules(offset, evidence, self.windows, self._partitions)
            if broken:
                outputs = outputs.plus(Outputs(verdicts=(broken,)))
        self._watermark(evidence)
        return outputs

    def end(self, rollout: int) -> None:
        """Rollouts up to this one are over, by what stands outside R.evidence: they are not judged, and pin nothing.

        What the test said of one that it has decided stays.
        """
        self._over = max(self._over, rollout)
        for number in [number for number, known in self._rollouts.items() if number <= self._over]:
            if not self._rollouts[number].is_decided:
                del self._rollouts[number]

    def snapshot(self) -> dict[str, Any]:
        """All that a successor needs to go on behind the last record: plain data, and numpy arrays.

        To be made where no change of a window waits to be taken.
        """
        return {
            "policy": _what_matters(self._policy),
            "offset": self._offset,
            "rollout_in_force": self.rollout_in_force,
            "refused_watermarks": self.refused_watermarks,
            "never_started": self.never_started,
            "over": self._over,
            "watermarks": list(map(list, self._watermarks.items())),
            "epochs": sorted(map(list, self._epochs)),
            "texts": [[value, text, self._told_in[value]] for value, text in self._texts.items()],
            "last_label": list(self._last_label),
            "ripeness": self._ripeness.state(),
            "windows": self.windows.state(),
            "rollouts": [rollout.state() for rollout in self._rollouts.values()],
        }

    @classmethod
    def restored(cls, policy: Policy, partitions: int, state: Mapping[str, Any]) -> "EvidenceFold":
        """The fold of which this is the snapshot. Raises ValueError where it is none, or one by another policy."""
        try:
            if state["policy"] != _what_matters(policy):
                raise ValueError(f"it was made by another policy: {state['policy']}, now {_what_matters(policy)}")
            fold = cls(policy, partitions)
            fold._offset, fold.rollout_in_force = state["offset"], state["rollout_in_force"]
            fold.refused_watermarks, fold.never_started = state["refused_watermarks"], state["never_started"]
            fold._over = state["over"]
            fold._watermarks = dict(state["watermarks"])
            fold._epochs = {(epoch, digest) for epoch, digest in state["epochs"]}
            rollout, at = state["last_label"]
            fold._last_label = rollout, at
            fold._ripeness = Ripeness.restored(policy, state["ripeness"])
            fold.windows = Windows.restored(policy, state["windows"])
            fold._texts = {value: text for value, text, _ in state["texts"]}
            fold._told_in = {value: rollout for value, _, rollout in state["texts"]}
            rollouts = [RolloutEvidence.restored(rollout, policy, fold._texts) for rollout in state["rollouts"]]
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"it is no snapshot: {error!r}") from error
        fold._rollouts = {rollout.rollout: rollout for rollout in rollouts}
        return fold

    @property
    def decided(self) -> tuple[Verdict, ...]:
        """The verdicts that roll back, as of the records at which they fell, on rollouts that no later one replaced."""
        return tuple(rollout.verdict for rollout in self._rollouts.values() if rollout.verdict)

    @property
    def fallen(self) -> tuple[Verdict, ...]:
        """Each that is not inconclusive, as of the record at which it fell, on rollouts that no later one replaced."""
        return tuple(verdict for rollout in self._rollouts.values() for verdict in rollout.fallen)

    @property
    def partitions(self) -> int:
        """The number of input partitions."""
        return self._partitions

    @property
    def watermarks(self) -> Mapping[int, int]:
        """The newest of each partition that has written one."""
        return self._watermarks

    @property
    def clock(self) -> int | None:
        """The newest watermark of any partition."""
        return max(self._watermarks.values(), default=None)

    @property
    def ripe_age(self) -> int:
        """What a rollout that starts now would wait for, milliseconds after a window's end."""
        return self._ripeness.ripe_age

    @property
    def ripe_age_estimate(self) -> RipeAge:
        """The same, with why it is that."""
        return self._ripeness.estimate

    @property
    def label_age(self) -> int:
        """After how long a rollout that starts now holds accuracy against its limits, milliseconds: for all labels."""
        if self._policy.ripe_age is not None:
            return self.ripe_age
        complete_until = min(self._watermarks.values()) if len(self._watermarks) >= self._partitions else None
        slowest = None if complete_until is None else self.windows.label_delay(complete_until)
        horizon = self._policy.label_horizon
        return horizon if slowest is None else min(horizon, max(self.ripe_age, slowest))

    @property
    def unstarted(self) -> tuple[int, ...]:
        """Rollouts that evidence names and that have no start record."""
        return tuple(sorted(number for number, rollout in self._rollouts.items() if rollout.trial is None))

    def is_started(self, rollout: int) -> bool:
        """Whether no start record is wanted: there is one, the rollout is over, or a later one is in force."""
        known = self._rollouts.get(rollout)
        is_past = rollout < self.rollout_in_force or rollout <= self._over
        return is_past or (known is not None and known.trial is not None)

    def is_known(self, epoch: int, digest: str) -> bool:
        """Whether this split's control record has been read."""
        return (epoch, digest) in self._epochs

    def first_offset(self, rollout: int) -> int | None:
        """Of the first record with outcomes or a control record of it; None if there is none, or a later one rules."""
        known = self._rollouts.get(rollout)
        return known.first_offset if known else None

    @property
    def replay_from(self) -> int | None:
        """Offset from which a replay gives the same verdicts and windows from now on; None if from here."""
        offsets = [rollout.first_offset for rollout in self._rollouts.values() if not rollout.is_decided]
        if self.windows.first_offset is not None:
            offsets.append(self.windows.first_offset)
        return min(offsets, default=None)

    def has_all_of(self, rollout: int, start: int) -> bool:
        """Whether a fold that began at the offset `start` has read all that counts for the rollout."""
        known = self._rollouts.get(rollout)
        return known is not None and known.trial is not None and known.trial.started.first_offset >= start

    def summary(self, rollout: int) -> Summary | None:
        """None where the rollout has not started or a later one is in force."""
        known = self._rollouts.get(rollout)
        if known is None or known.trial is None:
            return None
        trial, verdicts = known.trial, known.verdicts(self._offset)
        return Summary(
            verdict=known.verdict or overall(verdicts) or known.unjudged(self._offset),
            verdicts=verdicts,
            kinds=trial.kinds,
            waiting=len(known.waiting),
            ignored=trial.ignored,
            holds=known.holds,
            limits=known.limits(self.windows, self._partitions),
            max_labels_reached=trial.max_labels_reached,
        )

    def started(self, rollout: int) -> RolloutStarted | None:
        """The start record of a rollout that no later one has replaced."""
        known = self._rollouts.get(rollout)
        return known.trial.started if known and known.trial else None

    def last_label_at(self, rollout: int) -> int | None:
        """Kafka time of the newest label that gave the rollout an outcome, in ms since the epoch; for display.

        None where there is none, or where a later rollout has one.
        """
        newest, at = self._last_label
        return at if newest == rollout and at else None

    def silent(self, rollout: int) -> frozenset[str]:
        """The lanes of the rollout that do not answer, as of the newest record."""
        known = self._rollouts.get(rollout)
        return known.silent if known else frozenset()

    def _learn(self, offset: int, evidence: Evidence) -> None:
        for outcomes in evidence.outcomes:
            if outcomes.key.metric == ACCURACY and len(outcomes):
                self._last_label = max(self._last_label, (outcomes.key.rollout, int(outcomes.time.max())))
        in_force = evidence.epoch_in_force
        if in_force is not None:
            self._epochs.add((in_force.epoch, in_force.digest))
            self.rollout_in_force = max(self.rollout_in_force, in_force.rollout)
        for rollout in sorted(set(rollouts_in(evidence))):
            if rollout > self._over and rollout not in self._rollouts:
                self._rollouts[rollout] = RolloutEvidence(rollout, offset, self._policy, self._texts)
        started = evidence.rollout_started
        if started is not None and started.rollout in self._rollouts:
            self._rollouts[started.rollout].rest_on(started.policy, self.windows)
        for rollout in [rollout for rollout in self._rollouts if rollout < self.rollout_in_force]:
            del self._rollouts[rollout]
        self._learn_texts(evidence)

    def _learn_texts(self, evidence: Evidence) -> None:
        told_in = max(self._rollouts, default=self.rollout_in_force)
        for value in [value for value, rollout in self._told_in.items() if rollout < self.rollout_in_force]:
            del self._texts[value], self._told_in[value]
        for value, text in evidence.texts.items():
            if value in self._texts or len(self._texts) < _TEXTS:
                self._texts.setdefault(value, text)
                self._told_in[value] = max(told_in, self._told_in.get(value, told_in))

    def _watermark(self, evidence: Evidence) -> None:
        partition, watermark = evidence.partition, evidence.watermark
        if partition is not None and watermark is not None:
            self._watermarks[partition] = max(watermark, self._watermarks.get(partition, watermark))
        complete_until = min(self._watermarks.values()) if len(self._watermarks) >= self._partitions else None
        self._ripeness.on_record(evidence, complete_until)
        if complete_until is not None:
            self.windows.forget(complete_until)


def _is_ahead(evidence: Evidence) -> bool:
    watermark, appended_at = evidence.watermark, evidence.appended_at
    return watermark is not None and appended_at is not None and watermark > appended_at + CLOCK_SKEW_MS


def _what_matters(policy: Policy) -> dict[str, int]:
    """What of the route's current policy is in a snapshot."""
    return {
        "window": policy.window,
        "label_horizon": policy.label_horizon,
        "prediction_deadline": policy.prediction_deadline,
    }
