"""What a route's controller does about the evidence: control records, published windows, verdicts, rollbacks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stream_router.core.deciding.fold import EvidenceFold, Summary
from stream_router.core.deciding.verdict import Verdict
from stream_router.core.deciding.windows import WindowedAccuracy
from stream_router.core.evidence import EpochInForce, Evidence, RolloutStarted, Silence
from stream_router.core.lane import CANARY, LANES, STABLE, Lane
from stream_router.core.policy import Policy
from stream_router.core.rollout.holds import holds_of
from stream_router.core.rollout.lane_look import LaneLook, Wanted
from stream_router.core.rollout.rollout_event import ROLLBACK, VERDICT, RolloutEvent, rollback_event, verdict_event
from stream_router.core.rollout.silences import SilenceRecords
from stream_router.core.rollout.situation import Hold, Situation
from stream_router.core.rollout.status import Led, RolloutStatus, status_of
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.control_view import ControlView


@dataclass(frozen=True, kw_only=True)
class Writes:
    """What one transaction of the controller writes; of a window only its newest state. events: rollbacks."""

    windows: tuple[WindowedAccuracy, ...] = ()
    controls: tuple[EpochInForce | RolloutStarted, ...] = ()
    silences: tuple[Silence, ...] = ()
    verdicts: tuple[RolloutEvent, ...] = ()
    events: tuple[RolloutEvent, ...] = ()


@dataclass(kw_only=True)
class Controller:
    """The controller from the moment at which it took over; a successor begins with a new one.

    `position` is the offset of the first record of R.evidence whose consequences are not yet written: what earlier
    records bring was written by a predecessor, but for rollbacks and verdicts that are not in R.rollout-events: one of
    an older version passes over records that it cannot read. `missing_before` is the offset at which R.evidence begins
    where that is later than a replay should: then a running rollout that began before it is held, not judged, as is
    every one up to `held`, which a successor is told. `carried_out` is the latest rollback that a call of the script
    has brought to Redis. `looks` are the newest at the lanes, as far as anybody looks at them. `policies` are those
    with which rollouts were started, by their numbers; any other has `policy`.
    """

    policy: Policy
    fold: EvidenceFold
    position: int
    missing_before: int | None = None
    held: int = 0
    view: ControlView = field(default_factory=ControlView)
    carried_out: int = 0
    next_offset: int = 0
    looks: Mapping[Lane, LaneLook] = field(default_factory=dict)
    policies: dict[int, Policy] = field(default_factory=dict)
    _silences: SilenceRecords = field(default_factory=SilenceRecords)
    _splits: dict[tuple[int, str], AppliedSplit] = field(default_factory=dict)
    _rollbacks: dict[int, RolloutEvent] = field(default_factory=dict)
    _acted_on: set[int] = field(default_factory=set)
    _fallen: list[Verdict] = field(default_factory=list)
    """Since the last writes: a later record may make the fold forget the rollout."""
    _told: set[tuple[int, str | None, str]] = field(default_factory=set)
    """Verdicts of R.rollout-events, each by rollout, metric and status: of these none comes twice."""
    _asked: set[tuple[int, str] | int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.fold.end(self.held)

    def on_split(self, applied: AppliedSplit) -> None:
        """A record of R.splits, or what the script returned."""
        self.view.on_split(applied)
        self._splits[applied.epoch, applied.digest] = applied

    def on_event(self, event: RolloutEvent) -> None:
        """A record of R.rollout-events."""
        if event.kind == ROLLBACK:
            self.view.on_rollback(event.rollout, event.reason)
            self._rollbacks[event.rollout] = event
            self.fold.end(event.rollout)
        elif event.kind == VERDICT:
            self._told.add((event.rollout, event.metric, event.verdict))

    def on_evidence(self, offset: int, evidence: Evidence) -> None:
        """A record of R.evidence, from the replay offset on."""
        outputs = self.fold.on_record(offset, evidence)
        self._fallen += outputs.healthy + outputs.verdicts
        self.next_offset = offset + 1
        if offset < self.position:
            self.fold.windows.drop_changed()

    def due_writes(self, now: int) -> Writes:
        """What is to be written now, and not again; call only with all three topics read to their ends."""
        if self.missing_before is not None:
            self._hold_what_began_before(self.missing_before)
            self.missing_before = None
        fallen = self._untold()
        verdicts = [verdict for verdict in self.fold.decided if self._acts_on(verdict)]
        self._acted_on.update(verdict.rollout for verdict in verdicts)
        events = tuple(rollback_event(verdict, now) for verdict in verdicts)
        windows = self.fold.windows.take_changed()
        silences = self._silences.due(self.fold, self.wanted, self.looks, now)
        return Writes(
            windows=windows,
            controls=tuple(self._missing_controls()),
            silences=silences,
            verdicts=tuple(verdict_event(verdict, now) for verdict in fallen),
            events=events,
        )

    @property
    def is_urgent(self) -> bool:
        """Whether what is due is waited for: a rollback, or what the evidence under a new split waits for."""
        return any(map(self._acts_on, self.fold.decided)) or any(
            self._lacks_start(applied.rollout) or self._lacks_epoch(split_id)
            for split_id, applied in self._splits.items()
            if applied.rollout >= self.fold.rollout_in_force
        )

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
    def summary(self) -> Summary | None:
        """Of the rollout in force; None where it has not started, or is not judged."""
        return self.fold.summary(self.in_force.rollout)

    @property
    def is_held(self) -> bool:
        """Whether the rollout in force is not judged, because evidence of it was lost."""
        rollout = self.in_force.rollout
        return 0 < rollout <= self.held and not self._is_rolled_back(rollout)

    @property
    def wanted(self) -> Wanted | None:
        """The lanes that are to be looked at; None while no rollout is judged in which canary has a share."""
        in_force = self.in_force
        if not in_force.canary or not in_force.rollout or self._is_rolled_back(in_force.rollout) or self.is_held:
            return None
        lanes = tuple(lane for lane in LANES if in_force.split.weight(lane) > 0)
        started = self.fold.started(in_force.rollout)
        deadline = (started.policy if started else self._policy_of(in_force.rollout)).prediction_deadline
        return Wanted(rollout=in_force.rollout, since=self._since, deadline=deadline, lanes=lanes)

    def situation(self, now: int) -> Situation:
        """What holds and status of the rollout in force follow from; `now` in milliseconds since the epoch."""
        in_force = self.in_force
        started = self.fold.started(in_force.rollout)
        return Situation(
            now=now,
            in_force=in_force,
            since=self._since,
            policy=started.policy if started else self._policy_of(in_force.rollout),
            versions=started.versions if started else in_force.bound,
            ripe_age=started.ripe_age if started else self.fold.ripe_age,
            fold=self.fold,
            summary=self.summary,
            looks=self.looks,
            joined_by=self.policy,
            last_label_at=self.fold.last_label_at(in_force.rollout),
        )

    def holds(self, now: int) -> tuple[Hold, ...]:
        """Why the rollout in force does not go on; of one that is over, or is not judged, nothing."""
        return () if self.wanted is None else holds_of(self.situation(now))

    def status(
        self, now: int, led: Led | None = None, holds: tuple[Hold, ...] = (), remark: str | None = None
    ) -> RolloutStatus:
        """As of the last record read, for display; `remark` is what a person has to know first."""
        rollout = self.in_force.rollout
        if remark is None and self.is_held:
            remark = (
                f"held: R.evidence no longer holds the beginning of rollout {rollout}, so that it is not judged and "
                "never rolled back: set canary to 0 and name another canary version, whose rollout will be judged"
            )
        return status_of(self.view, self.situation(now), holds, self._rollbacks.get(rollout), led, remark)

    def _policy_of(self, rollout: int) -> Policy:
        return self.policies.get(rollout, self.policy)

    @property
    def _since(self) -> int:
        """When canary first had a share in the rollout in force."""
        rollout = self.in_force.rollout
        times = [other.time for other in self._splits.values() if other.rollout == rollout and other.canary > 0]
        return min(times, default=self.in_force.time)

    def _acts_on(self, verdict: Verdict) -> bool:
        is_over = verdict.rollout < self.in_force.rollout or self._is_rolled_back(verdict.rollout)
        return verdict.rollout > self.held and verdict.rollout not in self._acted_on and not is_over

    def _untold(self) -> list[Verdict]:
        """The verdicts that R.rollout-events lacks, in order; of a rollout that is over only what falls now."""
        untold: list[Verdict] = []
        for verdict in (*self.fold.fallen, *self._fallen):
            name = (verdict.rollout, verdict.metric, verdict.status.value)
            is_due = verdict.rollout >= self.in_force.rollout or verdict.offset >= self.position
            if is_due and verdict.rollout > self.held and name not in self._told:
                self._told.add(name)
                untold.append(verdict)
        self._fallen.clear()
        return sorted(untold, key=lambda one: one.offset)

    def _is_rolled_back(self, rollout: int) -> bool:
        return self.view.latch is not None and self.view.latch >= rollout

    def _hold_what_began_before(self, offset: int) -> None:
        rollout = self.in_force.rollout
        if rollout > self.held and not self._is_rolled_back(rollout) and not self.fold.has_all_of(rollout, offset):
            self.held = rollout
            self.fold.end(rollout)

    def _missing_controls(self) -> list[EpochInForce | RolloutStarted]:
        """Each split and each rollout of R.splits that R.evidence does not know yet, in order of their epochs."""
        missing: list[EpochInForce | RolloutStarted] = []
        for split_id, applied in sorted(self._splits.items()):
            if applied.rollout < self.fold.rollout_in_force:
                del self._splits[split_id]
                continue
            if self._lacks_start(applied.rollout):
                self._asked.add(applied.rollout)
                missing.append(self._start(applied))
            if self._lacks_epoch(split_id):
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

    def _lacks_start(self, rollout: int) -> bool:
        return rollout > 0 and rollout not in self._asked and not self.fold.is_started(rollout)

    def _lacks_epoch(self, split_id: tuple[int, str]) -> bool:
        return split_id not in self._asked and not self.fold.is_known(*split_id)

    def _start(self, applied: AppliedSplit) -> RolloutStarted:
        first = self.fold.first_offset(applied.rollout)
        return RolloutStarted(
            rollout=applied.rollout,
            versions=max(
                (other for other in self._splits.values() if other.rollout == applied.rollout),
                key=lambda other: other.epoch,
            ).bound,
            ripe_age=self.fold.ripe_age,
            label_age=self.fold.label_age,
            first_offset=self.next_offset if first is None else first,
            policy=self._policy_of(applied.rollout),
        )
