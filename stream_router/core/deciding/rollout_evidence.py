"""The evidence of one rollout: outcomes wait for its control records, and then go to its trial."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stream_router.core.deciding.epochs import Epoch, Epochs, epoch_of
from stream_router.core.deciding.numbers import Status
from stream_router.core.deciding.rows import Batch, Pool, rows_of
from stream_router.core.deciding.silence import SilentLanes
from stream_router.core.deciding.trial import BlockClosed, Trial
from stream_router.core.deciding.verdict import Verdict
from stream_router.core.evidence import Evidence
from stream_router.core.policy import CLOCK_SKEW_MS, Policy


class RolloutEvidence:
    """One rollout, from the first record with outcomes or a control record of it on.

    Earlier watermarks are not known to it, so that a replay from that record gives what a replay from the beginning
    gives. Outcomes wait for the rollout's start record and for their epoch's record, until a watermark of their
    partition is past the time at which they ripened by the clocks' skew: then they are given up, and with them what
    still comes of their windows, of which only the late part would count: for as long as anything of them may come.
    `policy` says when what has no start record is given up: once it is older than the label horizon.
    """

    def __init__(self, rollout: int, first_offset: int, policy: Policy) -> None:
        self.rollout = rollout
        self.first_offset = first_offset
        self.epochs = Epochs()
        self.trial: Trial | None = None
        self.silent_lanes: SilentLanes | None = None
        self.waiting = Pool()
        self.given_up_unstarted = 0
        """Outcomes given up before there was a start record."""
        self.verdict: Verdict | None = None
        """Unhealthy, as of the record at which it fell."""
        self._policy = policy
        self._since: int | None = None
        self._watermarks: dict[int, int] = {}
        self._given_up: dict[tuple[int, Epoch], int] = {}

    @property
    def is_decided(self) -> bool:
        return self.verdict is not None

    @property
    def is_nothing(self) -> bool:
        """Whether nothing of the rollout waits and a start record has not come within the label horizon."""
        if self.trial is not None or self.waiting or self._since is None:
            return False
        newest = max(self._watermarks.values(), default=self._since)
        return newest >= self._since + self._policy.matures_after + CLOCK_SKEW_MS

    def on_record(self, offset: int, evidence: Evidence) -> tuple[list[BlockClosed], Verdict | None]:
        """Blocks that closed, and the verdict if it fell at this record."""
        if self.is_decided:
            return [], None
        self._learn(evidence)
        ours = [outcomes for outcomes in evidence.outcomes if outcomes.key.rollout == self.rollout]
        if self._since is None:
            self._since = min((outcomes.key.window for outcomes in ours), default=evidence.watermark)
        if evidence.partition is not None and ours:
            self._take([Batch(evidence.partition, outcomes.key, rows_of(outcomes)) for outcomes in ours])
        at_watermark = self._watermark(evidence)
        if self.trial is None:
            return [], None
        blocks = self.trial.close_blocks(at_watermark=at_watermark)
        if self.silent_lanes:
            self.silent_lanes.on_record(evidence)
        if self.trial.unhealthy:
            self.verdict = self.trial.verdict(offset)
        elif unanswered := self.silent_lanes and self.silent_lanes.unanswered:
            self.verdict = self._plain("silence", unanswered, offset)
        return blocks, self.verdict

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return {
            "rollout": self.rollout,
            "first_offset": self.first_offset,
            "epochs": self.epochs.state(),
            "trial": self.trial and self.trial.state(),
            "silent_lanes": self.silent_lanes and self.silent_lanes.state(),
            "waiting": self.waiting.state(),
            "given_up_unstarted": self.given_up_unstarted,
            "decided_at": self.verdict and self.verdict.offset,
            "since": self._since,
            "watermarks": list(map(list, self._watermarks.items())),
            "given_up": [[partition, *epoch, window] for (partition, epoch), window in self._given_up.items()],
        }

    @classmethod
    def restored(cls, state: dict[str, Any], policy: Policy) -> "RolloutEvidence":
        """Raises LookupError, TypeError or ValueError where the state is none."""
        one = cls(state["rollout"], state["first_offset"], policy)
        one.epochs = Epochs.restored(state["epochs"])
        one._since = state["since"]
        one._watermarks = dict(state["watermarks"])
        one.trial = state["trial"] and Trial.restored(state["trial"], one.epochs, one._watermarks)
        if one.trial and state["silent_lanes"]:
            one.silent_lanes = SilentLanes.restored(one.trial.started.policy, one.rollout, state["silent_lanes"])
        if one.trial and state["decided_at"] is not None:
            unanswered = one.silent_lanes and one.silent_lanes.unanswered
            at = state["decided_at"]
            one.verdict = one._plain("silence", unanswered, at) if unanswered else one.trial.verdict(at)
        one.waiting = Pool.restored(state["waiting"])
        one.given_up_unstarted = state["given_up_unstarted"]
        one._given_up = {(partition, (epoch, digest)): window for partition, epoch, digest, window in state["given_up"]}
        return one

    def _take(self, arrived: Sequence[Batch], *, in_request_order: bool = False) -> None:
        """Into the trial, or to those that wait."""
        ready = []
        for batch in arrived:
            epoch = epoch_of(batch.key)
            if batch.key.window <= self._given_up.get((batch.partition, epoch), batch.key.window - 1):
                self._give_up(batch)
            elif self.trial and epoch in self.epochs:
                ready.append(batch)
            else:
                self.waiting.add(batch)
        if self.trial and ready:
            self.trial.take(ready, in_request_order=in_request_order)

    def _learn(self, evidence: Evidence) -> None:
        """From a control record; what waited for it waits no longer."""
        started, in_force = evidence.rollout_started, evidence.epoch_in_force
        starts = started is not None and started.rollout == self.rollout and self.trial is None
        if started is not None and starts:
            self.trial = Trial(started, self.epochs, self._watermarks)
            canary = f"canary {started.versions.canary or '(any version)'}"
            self.silent_lanes = SilentLanes(started.policy, self.rollout, canary)
        changes = in_force is not None and in_force.rollout == self.rollout
        if in_force is not None and changes:
            self.epochs.add(in_force)
        if self.trial and (starts or changes):
            known = self.waiting.take(lambda key: epoch_of(key) in self.epochs)
            self._take(known, in_request_order=True)

    def _watermark(self, evidence: Evidence) -> bool:
        partition, watermark = evidence.partition, evidence.watermark
        if partition is None or watermark is None:
            return False
        newest = self._watermarks[partition] = max(watermark, self._watermarks.get(partition, watermark))
        if self.trial:
            self.trial.ripen(partition)
        ripe_after = self.trial.ripe_after if self.trial else self._policy.matures_after
        for batch in self.waiting.take_until(partition, newest - ripe_after - CLOCK_SKEW_MS):
            self._give_up(batch)
        forgotten = newest - self._policy.kept_for
        for place in [
            place for place, window in self._given_up.items() if place[0] == partition and window <= forgotten
        ]:
            del self._given_up[place]
        return True

    def _plain(self, rule: str, reason: str, offset: int) -> Verdict:
        """Of a rule that is no test."""
        decided = self.trial.verdict(offset) if self.trial else None
        if decided is None:
            raise ValueError("a rollout without a start record is not judged")
        return replace(decided, metric=rule, status=Status.UNHEALTHY, role="guardrail", numbers=None, reason=reason)

    def _give_up(self, batch: Batch) -> None:
        place = batch.partition, epoch_of(batch.key)
        self._given_up[place] = max(batch.key.window, self._given_up.get(place, batch.key.window))
        if self.trial:
            self.trial.ignored.unattributed += len(batch.rows)
        else:
            self.given_up_unstarted += len(batch.rows)
