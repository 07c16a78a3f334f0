"""The evidence of one rollout: outcomes wait for its control records, and then go to its trial."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stream_router.core.deciding.epochs import Epoch, Epochs, epoch_of
from stream_router.core.deciding.metrics.registry import KINDS
from stream_router.core.deciding.numbers import Status
from stream_router.core.deciding.plain_rules import PlainRules
from stream_router.core.deciding.rows import Batch, Pool, rows_of
from stream_router.core.deciding.trial import Outputs, Trial
from stream_router.core.deciding.verdict import Verdict
from stream_router.core.deciding.windows import Windows
from stream_router.core.evidence import Evidence
from stream_router.core.lane import STABLE
from stream_router.core.policy import CLOCK_SKEW_MS, Policy
from stream_router.core.routing.applied_split import Versions


class RolloutEvidence:
    """One rollout, from the first record with outcomes or a control record of it on.

    Earlier watermarks are not known to it, so that a replay from that record gives what a replay from the beginning
    gives. Outcomes wait for the rollout's start record and for their epoch's record, until a watermark of their
    partition is past the time at which they ripened by the clocks' skew: then they are given up, and with them what
    still comes of their windows, of which only the late part would count: for as long as anything of them may come.
    `policy` says when what has no start record is given up: once it is older than the label horizon. `texts` names
    values that are hashes of text. Plain rules are asked beside the tests; the first of all that falls decides.
    """

    def __init__(self, rollout: int, first_offset: int, policy: Policy, texts: Mapping[float, str]) -> None:
        self.rollout = rollout
        self.first_offset = first_offset
        self.epochs = Epochs()
        self.trial: Trial | None = None
        self.waiting = Pool()
        self.given_up_unstarted = 0
        """Outcomes given up before there was a start record."""
        self.verdict: Verdict | None = None
        """The one that decides: unhealthy, of a guardrail, as of the record at which it fell."""
        self._rules: PlainRules | None = None
        self._texts = texts
        self._policy = policy
        self._since: int | None = None
        self._watermarks: dict[int, int] = {}
        self._given_up: dict[tuple[int, str, Epoch], int] = {}

    def rest_on(self, policy: Policy, windows: Windows) -> None:
        """A replay has to begin early enough to know of stable's accuracy what `windows` know, where that is asked."""
        if any(limit.metric == "accuracy_drop" for limit in policy.limits):
            first = windows.labels_from(STABLE)
            self.first_offset = self.first_offset if first is None else min(self.first_offset, first)

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

    def on_record(self, offset: int, evidence: Evidence) -> Outputs:
        """Blocks that closed, and the verdicts that fell at this record, those of signals, too."""
        if self.is_decided:
            return Outputs()
        self._learn(evidence)
        ours = [outcomes for outcomes in evidence.outcomes if outcomes.key.rollout == self.rollout]
        if self._since is None:
            self._since = min((outcomes.key.window for outcomes in ours), default=evidence.watermark)
        read = [outcomes for outcomes in ours if self._reads(outcomes.key.metric)]
        if evidence.partition is not None and read:
            self._take([Batch(evidence.partition, outcomes.key, rows_of(outcomes)) for outcomes in read])
        at_watermark = self._watermark(evidence)
        if self.trial is None:
            return Outputs()
        outputs = self.trial.close_blocks(offset, at_watermark=at_watermark)
        if outputs.verdicts and outputs.verdicts[0].rolls_back:
            self._decide(outputs.verdicts[0])
        return outputs

    def ask_rules(self, offset: int, evidence: Evidence, windows: Windows, partitions: int) -> Verdict | None:
        """The verdict of the plain rule that falls at this record, of which `windows` and `on_record` know already.

        What is complete is told by the watermarks of this rollout's own records.
        """
        if self.is_decided or self.trial is None or self._rules is None:
            return None
        broken = self._rules.on_record(evidence, windows, self._complete_until(partitions))
        if broken is not None:
            self._decide(self._plain(broken.rule, Status.UNHEALTHY, broken.sentence, offset))
        return self.verdict

    def limits(self, windows: Windows, partitions: int) -> tuple[str, ...]:
        """What each limit sees, a sentence each."""
        return self._rules.limits(windows, self._complete_until(partitions)) if self._rules else ()

    def unjudged(self, offset: int) -> Verdict:
        """What is to be said where no metric has a test."""
        return self._plain("none", Status.INCONCLUSIVE, "nothing is judged: no metric has a part of alpha", offset)

    @property
    def holds(self) -> tuple[str, ...]:
        """Why a plain rule holds the rollout, in words."""
        return self._rules.holds if self._rules else ()

    def verdicts(self, offset: int) -> tuple[Verdict, ...]:
        """One a metric, as of the record at `offset`, and the plain rule that has decided."""
        if self.trial is None:
            return ()
        return (*self.trial.verdicts(offset), *self._by_rule)

    @property
    def fallen(self) -> tuple[Verdict, ...]:
        """Healthy and unhealthy ones, each as of the record at which it fell."""
        return (*self.trial.fallen, *self._by_rule) if self.trial else ()

    @property
    def _by_rule(self) -> tuple[Verdict, ...]:
        """That of the plain rule that has decided."""
        return () if self.verdict is None or self.verdict.numbers else (self.verdict,)

    @property
    def silent(self) -> frozenset[str]:
        """The lanes that do not answer, as of the newest record."""
        return self._rules.silent if self._rules else frozenset()

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return {
            "rollout": self.rollout,
            "first_offset": self.first_offset,
            "epochs": self.epochs.state(),
            "trial": self.trial and self.trial.state(),
            "waiting": self.waiting.state(),
            "given_up_unstarted": self.given_up_unstarted,
            "verdict": self.verdict and self.verdict.state(),
            "rules": self._rules and self._rules.state(),
            "since": self._since,
            "watermarks": list(map(list, self._watermarks.items())),
            "given_up": [
                [partition, kind, *epoch, window] for (partition, kind, epoch), window in self._given_up.items()
            ],
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any], policy: Policy, texts: Mapping[float, str]) -> "RolloutEvidence":
        """Raises LookupError, TypeError or ValueError where the state is none."""
        one = cls(state["rollout"], state["first_offset"], policy, texts)
        one.epochs = Epochs.restored(state["epochs"])
        one._since = state["since"]
        one._watermarks = dict(state["watermarks"])
        if state["trial"] is not None:
            one.trial = Trial.restored(state["trial"], one.epochs, one._watermarks, texts)
            one._rules = PlainRules(one.trial.started)
            one._rules.restore(state["rules"])
        one.verdict = state["verdict"] and Verdict.restored(state["verdict"])
        one.waiting = Pool.restored(state["waiting"])
        one.given_up_unstarted = state["given_up_unstarted"]
        one._given_up = {
            (partition, kind, (epoch, digest)): window for partition, kind, epoch, digest, window in state["given_up"]
        }
        return one

    def _complete_until(self, partitions: int) -> int | None:
        return min(self._watermarks.values()) if len(self._watermarks) >= partitions else None

    def _decide(self, verdict: Verdict) -> None:
        self.verdict = verdict
        if self.trial:
            self.trial.free()

    def _plain(self, rule: str, status: Status, reason: str, offset: int) -> Verdict:
        """A verdict that no test gives."""
        newest, started = self.epochs.newest, self.trial.started if self.trial else None
        versions = started.versions if started else Versions()
        return Verdict(
            metric=rule,
            role="guardrail",
            status=status,
            rollout=self.rollout,
            epoch=newest and newest[0],
            digest=newest and newest[1],
            stable_version=versions.stable,
            canary_version=versions.canary,
            deciding_label_at=None,
            offset=offset,
            numbers=None,
            reason=reason,
            policy_digest=started.policy.digest if started else None,
        )

    def _reads(self, kind: str) -> bool:
        return self.trial.reads(kind) if self.trial else kind in KINDS

    def _take(self, arrived: Sequence[Batch], *, in_request_order: bool = False) -> None:
        """Into the trial, or to those that wait."""
        ready = []
        for batch in arrived:
            if batch.key.window <= self._given_up.get(_place(batch), batch.key.window - 1):
                self._give_up(batch)
            elif self.trial and epoch_of(batch.key) in self.epochs:
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
            self.trial = Trial(started, self.epochs, self._watermarks, self._texts)
            self._rules = PlainRules(started)
            self.waiting.take(lambda key: not self._reads(key.metric))
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
        for kind in filter(self._reads, KINDS if self.waiting else ()):
            ripe_after = self.trial.ripe_after(kind) if self.trial else self._policy.matures_after
            for batch in self.waiting.take_until(partition, newest - ripe_after - CLOCK_SKEW_MS, kind):
                self._give_up(batch)
        forgotten = newest - self._policy.kept_for
        for place in [
            place for place, window in self._given_up.items() if place[0] == partition and window <= forgotten
        ]:
            del self._given_up[place]
        return True

    def _give_up(self, batch: Batch) -> None:
        place = _place(batch)
        self._given_up[place] = max(batch.key.window, self._given_up.get(place, batch.key.window))
        if self.trial:
            self.trial.ignored.unattributed += len(batch.rows)
        else:
            self.given_up_unstarted += len(batch.rows)


def _place(batch: Batch) -> tuple[int, str, Epoch]:
    return batch.partition, batch.key.metric, epoch_of(batch.key)


def rollouts_in(evidence: Evidence) -> Iterator[int]:
    """Every rollout of which the record brings something for its trial; 0 is none."""
    for outcomes in evidence.outcomes:
        yield outcomes.key.rollout
    if evidence.rollout_started:
        yield evidence.rollout_started.rollout
    if evidence.epoch_in_force:
        yield evidence.epoch_in_force.rollout
