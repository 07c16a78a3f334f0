"""What a route's controller does about the evidence: control records, published windows, rollbacks."""

from dataclasses import dataclass, field
from typing import Literal

from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.deciding.verdict import Verdict
from stream_router.core.deciding.windows import WindowedAccuracy, WindowKey
from stream_router.core.joining.evidence import EpochInForce, Evidence, RolloutStarted
from stream_router.core.lane import CANARY, STABLE
from stream_router.core.policy import Policy
from stream_router.core.rollout.rollout_event import ROLLBACK, RolloutEvent, rollback_event
from stream_router.core.routing.knowledge import Knowledge
from stream_router.core.routing.law import NO_LAW, Law
from stream_router.core.routing.split import parse_split

Phase = Literal["Idle", "Manual", "RolledBack"]
"""Idle: canary has no share. Manual: an operator's split. RolledBack: the newest rollout was found unhealthy."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one transaction of the controller writes; of a window only its newest state."""

    windows: tuple[WindowedAccuracy, ...] = ()
    controls: tuple[EpochInForce | RolloutStarted, ...] = ()
    events: tuple[RolloutEvent, ...] = ()


@dataclass(kw_only=True)
class Controller:
    """The controller from the moment at which it took over; a successor begins with a new one.

    `position` is the offset of the first record of R.evidence whose consequences are not yet written: what earlier
    records bring was written by a predecessor. `overran` says that R.evidence no longer holds all that a replay needs:
    then the rollout in force is held, as is every one up to `held`, which a successor is told.
    """

    policy: Policy
    fold: EvidenceFold
    position: int
    overran: bool = False
    held: int = 0
    knowledge: Knowledge = field(default_factory=Knowledge)
    enforced: int = 0
    next_offset: int = 0
    _laws: dict[tuple[int, str], Law] = field(default_factory=dict)
    _windows: dict[WindowKey, WindowedAccuracy] = field(default_factory=dict)
    _verdicts: list[Verdict] = field(default_factory=list)
    _asked: set[tuple[int, str] | int] = field(default_factory=set)

    def on_law(self, law: Law) -> None:
        """A record of R.splits, or what the script returned."""
        self.knowledge.on_split(law)
        self._laws[law.epoch, law.digest] = law

    def on_event(self, event: RolloutEvent) -> None:
        """A record of R.rollout-events."""
        if event.kind == ROLLBACK:
            self.knowledge.on_rollback(event.rollout, event.reason)

    def on_evidence(self, offset: int, evidence: Evidence) -> None:
        """A record of R.evidence, from the replay offset on."""
        outputs = self.fold.on_record(offset, evidence)
        self.next_offset = offset + 1
        if offset < self.position:
            return
        for window in outputs.windows:
            key = WindowKey(window.window_start, window.rollout, window.lane, window.model_version)
            self._windows[key] = window
        self._verdicts += outputs.verdicts

    def answer(self, now: int) -> Answer:
        """What is to be written now, and not again; call only with all three topics read to their ends."""
        if self.overran:
            self.overran, self.held = False, max(self.held, self.law.rollout)
        events = tuple(rollback_event(verdict, now) for verdict in self._verdicts if self._acts_on(verdict))
        answer = Answer(windows=tuple(self._windows.values()), controls=tuple(self._missing_controls()), events=events)
        self._windows.clear()
        self._verdicts.clear()
        return answer

    @property
    def law(self) -> Law:
        """The newest law in R.splits."""
        return self.knowledge.newest or NO_LAW

    @property
    def must_enforce(self) -> bool:
        """Whether a rollback is known that no call of the script has brought to Redis yet."""
        return self.knowledge.latch is not None and self.knowledge.latch > self.enforced

    @property
    def replay_from(self) -> int:
        """Offset of R.evidence from which a successor has to read."""
        replay = self.fold.replay_from
        return self.next_offset if replay is None else replay

    @property
    def phase(self) -> Phase:
        if self.law.canary > 0:
            return "Manual"
        latched = self.knowledge.latch is not None and self.knowledge.latch == self.law.rollout > 0
        return "RolledBack" if latched else "Idle"

    def _acts_on(self, verdict: Verdict) -> bool:
        latch = self.knowledge.latch
        is_over = verdict.rollout < self.law.rollout or (latch is not None and latch >= verdict.rollout)
        return verdict.rollout > self.held and not is_over

    def _missing_controls(self) -> list[EpochInForce | RolloutStarted]:
        """Each law and each rollout of R.splits that R.evidence does not know yet, in order of their epochs."""
        missing: list[EpochInForce | RolloutStarted] = []
        for place, law in sorted(self._laws.items()):
            if law.rollout < self.fold.rollout_in_force:
                del self._laws[place]
                continue
            if law.rollout > 0 and law.rollout not in self._asked and not self.fold.is_started(law.rollout):
                self._asked.add(law.rollout)
                missing.append(self._start(law))
            if place not in self._asked and not self.fold.is_known(*place):
                self._asked.add(place)
                split = parse_split(law.raw)
                weights = {STABLE: split.stable, CANARY: split.canary}
                missing.append(EpochInForce(epoch=law.epoch, digest=law.digest, rollout=law.rollout, weights=weights))
        return missing

    def _start(self, law: Law) -> RolloutStarted:
        first = self.fold.first_offset(law.rollout)
        return RolloutStarted(
            rollout=law.rollout,
            versions=max(
                (other for other in self._laws.values() if other.rollout == law.rollout), key=lambda other: other.epoch
            ).bound,
            ripe_age=self.fold.ripe_age,
            first_offset=self.next_offset if first is None else first,
            policy=self.policy,
        )
