"""What a route's controller does about the evidence: control records, published windows, rollbacks."""

from dataclasses import dataclass, field

from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.deciding.verdict import Verdict
from stream_router.core.deciding.windows import WindowedAccuracy, WindowKey
from stream_router.core.evidence import EpochInForce, Evidence, RolloutStarted
from stream_router.core.lane import CANARY, STABLE
from stream_router.core.policy import Policy
from stream_router.core.rollout.rollout_event import ROLLBACK, RolloutEvent, rollback_event
from stream_router.core.rollout.status import RolloutStatus, status_of
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.control_view import ControlView


@dataclass(frozen=True, kw_only=True)
class Writes:
    """What one transaction of the controller writes; of a window only its newest state."""

    windows: tuple[WindowedAccuracy, ...] = ()
    controls: tuple[EpochInForce | RolloutStarted, ...] = ()
    events: tuple[RolloutEvent, ...] = ()


@dataclass(kw_only=True)
class Controller:
    """The controller from the moment at which it took over; a successor begins with a new one.

    `position` is the offset of the first record of R.evidence whose consequences are not yet written: what earlier
    records bring was written by a predecessor. `evidence_missing` says that R.evidence no longer holds all that a
    replay needs: then the rollout in force is held, not judged, as is every one up to `held`, which a successor is
    told. `carried_out` is the latest rollback that a call of the script has brought to Redis.
    """

    policy: Policy
    fold: EvidenceFold
    position: int
    evidence_missing: bool = False
    held: int = 0
    view: ControlView = field(default_factory=ControlView)
    carried_out: int = 0
    next_offset: int = 0
    _splits: dict[tuple[int, str], AppliedSplit] = field(default_factory=dict)
    _windows: dict[WindowKey, WindowedAccuracy] = field(default_factory=dict)
    _verdicts: list[Verdict] = field(default_factory=list)
    _asked: set[tuple[int, str] | int] = field(default_factory=set)

    def on_split(self, applied: AppliedSplit) -> None:
        """A record of R.splits, or what the script returned."""
        self.view.on_split(applied)
        self._splits[applied.epoch, applied.digest] = applied

    def on_event(self, event: RolloutEvent) -> None:
        """A record of R.rollout-events."""
        if event.kind == ROLLBACK:
            self.view.on_rollback(event.rollout, event.reason)

    def on_evidence(self, offset: int, evidence: Evidence) -> None:
        """A record of R.evidence, from the replay offset on."""
        outputs = self.fold.on_record(offset, evidence)
        self.next_offset = offset + 1
        if offset < self.position:
            return
        for window in outputs.windows:
            self._windows[window.key] = window
        self._verdicts += outputs.verdicts

    def due_writes(self, now: int) -> Writes:
        """What is to be written now, and not again; call only with all three topics read to their ends."""
        if self.evidence_missing:
            self.evidence_missing, self.held = False, max(self.held, self.in_force.rollout)
        events = tuple(rollback_event(verdict, now) for verdict in self._verdicts if self._acts_on(verdict))
        writes = Writes(windows=tuple(self._windows.values()), controls=tuple(self._missing_controls()), events=events)
        self._windows.clear()
        self._verdicts.clear()
        return writes

    @property
    def in_force(self) -> AppliedSplit:
        """The latest split in R.splits."""
        return self.view.in_force

    @property
    def must_carry_out(self) -> bool:
        """Whether a rollback is known that no call of the script has brought to Redis yet."""
        return self.view.latch is not None and self.view.latch > self.carried_out

    @property
    def replay_from(self) -> int:
        """Offset of R.evidence from which a successor has to read."""
        replay = self.fold.replay_from
        return self.next_offset if replay is None else replay

    @property
    def status(self) -> RolloutStatus:
        """As of the last record read, for display."""
        return status_of(self.view, self.policy, self.fold.summary(self.in_force.rollout))

    def _acts_on(self, verdict: Verdict) -> bool:
        latch = self.view.latch
        is_over = verdict.rollout < self.in_force.rollout or (latch is not None and latch >= verdict.rollout)
        return verdict.rollout > self.held and not is_over

    def _missing_controls(self) -> list[EpochInForce | RolloutStarted]:
        """Each split and each rollout of R.splits that R.evidence does not know yet, in order of their epochs."""
        missing: list[EpochInForce | RolloutStarted] = []
        for split_id, applied in sorted(self._splits.items()):
            if applied.rollout < self.fold.rollout_in_force:
                del self._splits[split_id]
                continue
            if applied.rollout > 0 and applied.rollout not in self._asked and not self.fold.is_started(applied.rollout):
                self._asked.add(applied.rollout)
                missing.append(self._start(applied))
            if split_id not in self._asked and not self.fold.is_known(*split_id):
                self._asked.add(split_id)
                weights = {STABLE: applied.split.stable, CANARY: applied.split.canary}
                missing.append(
                    EpochInForce(
                        epoch=applied.epoch,
                        digest=applied.digest,
                        rollout=applied.rollout,
                        weights=weights,
                        since=applied.time,
                    )
                )
        return missing

    def _start(self, applied: AppliedSplit) -> RolloutStarted:
        first = self.fold.first_offset(applied.rollout)
        return RolloutStarted(
            rollout=applied.rollout,
            versions=max(
                (other for other in self._splits.values() if other.rollout == applied.rollout),
                key=lambda other: other.epoch,
            ).bound,
            ripe_age=self.fold.ripe_age,
            first_offset=self.next_offset if first is None else first,
            policy=self.policy,
        )
