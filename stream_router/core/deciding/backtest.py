"""A rollout judged anew from its recorded evidence: by its own policy, or by another."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Final

from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.deciding.numbers import Counts
from stream_router.core.deciding.odds_ratio import OddsRatio, odds_ratio
from stream_router.core.deciding.verdict import Verdict
from stream_router.core.evidence import Evidence, RolloutStarted
from stream_router.core.policy import ROUTE_SETTINGS, MetricName, Policy


def under(started: RolloutStarted, policy: Policy) -> RolloutStarted:
    """The start record of the same rollout judged by another policy; the ripe age stays unless the policy sets it.

    Raises ValueError, in words, where the policy asks for other evidence than was gathered.
    """
    recorded = started.policy
    wrong = [name for name in ROUTE_SETTINGS if getattr(policy, name) != getattr(recorded, name)]
    if wrong:
        told = ", ".join(f"{name} {getattr(policy, name)!r}, recorded {getattr(recorded, name)!r}" for name in wrong)
        raise ValueError(
            f"the evidence of rollout {started.rollout} was gathered by another {' and '.join(wrong)} ({told}): leave "
            "that out, since what was recorded cannot be judged by it"
        )
    return replace(started, policy=policy, ripe_age=started.ripe_age if policy.ripe_age is None else policy.ripe_age)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fell:
    """A verdict, and the time of the record at which it fell: the broker's where the topic has that, ms since 1970."""

    verdict: Verdict
    at: int


class Retrial:
    """Folds R.evidence from the rollout's first record on, each record once and in order.

    Earlier ones do no harm, and limits on a drop of accuracy need those that tell of stable. `started` takes the place
    of the recorded start record. `partitions` is the number of input partitions.
    """

    def __init__(self, started: RolloutStarted, partitions: int) -> None:
        self.started: Final = started
        self.started_at: int | None = None
        """The time of the start record, ms since 1970."""
        self.is_over = False
        """Whether a later rollout is in force: nothing more can follow."""
        self.fell: list[Fell] = []
        self.last_at: int | None = None
        """The time of the newest record."""
        self._fold = EvidenceFold(self.started.policy, partitions)
        self._bets: dict[str, list[tuple[int, Counts]]] = {}

    def on_record(self, offset: int, evidence: Evidence) -> None:
        in_force, rollout = evidence.epoch_in_force, self.started.rollout
        self.is_over |= in_force is not None and in_force.rollout > rollout
        if self.is_over:
            return
        at = evidence.written_at if evidence.appended_at is None else evidence.appended_at
        self.last_at = at
        if evidence.rollout_started is not None and evidence.rollout_started.rollout == rollout:
            evidence = replace(evidence, rollout_started=self.started)
            self.started_at = at if self.started_at is None else self.started_at
        outputs = self._fold.on_record(offset, evidence)
        self._fold.windows.drop_changed()
        for verdict in (*outputs.verdicts, *outputs.healthy):
            if verdict.rollout == rollout:
                self.fell.append(Fell(verdict=verdict, at=at))
        for closed in outputs.blocks:
            for metric, counts in closed.bets.items() if closed.block.rollout == rollout else ():
                self._bets.setdefault(metric, []).append((offset, counts))

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One a metric, as of the newest record, and the plain rule that has decided."""
        summary = self._fold.summary(self.started.rollout)
        return summary.verdicts if summary else ()

    def odds_ratio(self, metric: MetricName, until: int | None = None) -> OddsRatio | None:
        """Up to the record at this offset, of what was bet on; None of a metric that does not ask which lane is worse.

        Each end has the metric's part of alpha.
        """
        policy = self.started.policy
        blocks = [counts for offset, counts in self._bets.get(metric, ()) if until is None or offset <= until]
        if not blocks:
            return None
        return odds_ratio(blocks, alpha=policy.alpha * policy.metric(metric).weight, max_labels=policy.max_labels)


def changes(recorded: Policy, other: Policy) -> Iterator[tuple[str, object, object]]:
    """What differs: name, recorded and other value; of metrics as metrics.NAME.FIELD. Times in milliseconds."""
    before, after = asdict(recorded), asdict(other)
    for name in before:
        if name != "metrics" and before[name] != after[name]:
            yield name, before[name], after[name]
    for metric in dict.fromkeys(one.name for one in (*recorded.metrics, *other.metrics)):
        was, becomes = asdict(recorded.metric(metric)), asdict(other.metric(metric))
        for name in was:
            if was[name] != becomes[name]:
                yield f"metrics.{metric}.{name}", was[name], becomes[name]
