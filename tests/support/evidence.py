"""Records of R.evidence for tests: single ones, and whole simulated rollouts."""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from stream_router.core.evidence import (
    ACCURACY,
    ERROR,
    LABELLING,
    LATENCY,
    MODEL_LATENCY,
    PREDICTION,
    Count,
    EpochInForce,
    Evidence,
    Outcome,
    RolloutStarted,
    in_columns,
)
from stream_router.core.policy import Policy
from stream_router.core.routing.applied_split import Versions

SECOND = 1_000
KINDS = (ACCURACY, ERROR, PREDICTION, LATENCY, MODEL_LATENCY, LABELLING)
POLICY = Policy(window=10 * SECOND, label_horizon=100 * SECOND, prediction_deadline=5 * SECOND)
VERSIONS = Versions("v1", "v2")


def outcome(**changes) -> Outcome:
    """A good outcome of canary in the window 0 of rollout 1, epoch 1."""
    given = {
        "window": 0,
        "epoch": 1,
        "digest": "d1",
        "rollout": 1,
        "lane": "canary",
        "model_version": {"canary": "v2", "stable": "v1"}.get(changes.get("lane", "canary"), ""),
        "metric": "accuracy",
        "entity": 0,
        "order": 0,
        "delay": SECOND,
        "time": SECOND,
        "bad": False,
    }
    return Outcome(**(given | changes))


def flush(partition: int = 0, *outcomes: Outcome, watermark: int | None = None, counts=(), **others) -> Evidence:
    return Evidence(
        by="worker",
        written_at=0,
        partition=partition,
        watermark=watermark,
        outcomes=in_columns(outcomes),
        counts=tuple(counts),
        **others,
    )


def started(rollout: int = 1, ripe_age: int = 20 * SECOND, policy: Policy = POLICY, versions=VERSIONS) -> Evidence:
    control = RolloutStarted(rollout=rollout, versions=versions, ripe_age=ripe_age, first_offset=0, policy=policy)
    return Evidence(by="controller", written_at=0, rollout_started=control)


def in_force(epoch: int = 1, canary: float = 0.1, rollout: int = 1, digest: str | None = None) -> Evidence:
    weights = {"stable": 1 - canary, "canary": canary}
    control = EpochInForce(epoch=epoch, digest=digest or f"d{epoch}", rollout=rollout, weights=weights)
    return Evidence(by="controller", written_at=0, epoch_in_force=control)


@dataclass(kw_only=True)
class Simulation:
    """A rollout as its evidence: what each partition's worker flushes, a watermark a second.

    `delays`: means, in seconds, of the exponential label delays by lane and outcome, 5 where not given; labels past
    the horizon are left out. A request in ten is of a known entity. `epochs`: start times and canary's shares.
    `kinds`: of outcomes that are flushed; `fails`: the part of predictions that are errors, by lane; `slowness`: what
    its latencies are multiplied by.
    """

    seed: int
    seconds: int = 120
    a_second: int = 20
    partitions: int = 2
    rollout: int = 1
    epochs: tuple[tuple[int, float], ...] = ((0, 0.3),)
    error: dict[str, float] = field(default_factory=lambda: {"stable": 0.1, "canary": 0.6})
    delays: dict[tuple[str, bool], float] = field(default_factory=dict)
    ripe_age: int = 20 * SECOND
    policy: Policy = POLICY
    kinds: tuple[str, ...] = (ACCURACY,)
    fails: dict[str, float] = field(default_factory=lambda: {"stable": 0.02, "canary": 0.02})
    slowness: dict[str, float] = field(default_factory=lambda: {"stable": 1.0, "canary": 1.0})

    def records(self) -> list[Evidence]:
        rng, others = np.random.default_rng(self.seed), np.random.default_rng([self.seed, 1])
        due: dict[tuple[int, int], list[Outcome]] = defaultdict(list)
        counts: dict[tuple[int, int], list[Count]] = defaultdict(list)
        for second in range(self.seconds):
            epoch = max(number for number, (start, _) in enumerate(self.epochs) if start <= second)
            for _ in range(self.a_second):
                self._request(rng, others, second * SECOND, epoch, due, counts)
        records = [started(self.rollout, self.ripe_age, self.policy)]
        for second in range(self.seconds):
            for number, (start, share) in enumerate(self.epochs):
                if start == second:
                    records.append(in_force(number + 1, share, self.rollout))
            for partition in range(self.partitions):
                at = (second, partition)
                records.append(flush(partition, *due[at], watermark=(second + 1) * SECOND, counts=counts[at]))
        return records

    def _request(self, rng, others, routed_at, epoch, due, counts) -> None:
        partition = int(rng.integers(self.partitions))
        lane = "canary" if rng.random() < self.epochs[epoch][1] else "stable"
        bad = bool(rng.random() < self.error[lane])
        delay = int(rng.exponential(self.delays.get((lane, bad), 5) * SECOND))
        known_entity = rng.random() < 0.1
        window = self.policy.window_start(routed_at)
        version = {"stable": "v1", "canary": "v2"}[lane]
        labelled = ((routed_at + delay) // SECOND, partition)
        of = {"window": window, "rollout": self.rollout, "lane": lane, "model_version": version}
        counts[(routed_at // SECOND, partition)].append(Count(**of, predicted=1))
        is_labelled = routed_at + delay <= window + self.policy.window + self.policy.label_horizon
        if is_labelled:
            counts[labelled].append(Count(**of, labelled=1, correct=int(not bad)))
        of |= {"epoch": epoch + 1, "digest": f"d{epoch + 1}"}
        if is_labelled or len(self.kinds) > 1:
            of |= {
                "entity": int(rng.integers(50)) if known_entity else int(rng.integers(2**62)),
                "order": int(rng.integers(-(2**63), 2**63 - 1)),
            }
        if is_labelled and ACCURACY in self.kinds:
            due[labelled].append(outcome(**of, delay=delay, time=routed_at + delay, bad=bad))
        self._predicted(others, of, routed_at, due, partition)
        if LABELLING in self.kinds:
            at = window + self.policy.matures_after
            told = {"time": at, "delay": at - routed_at, "bad": bool(others.random() < 0.02)}
            value = float(delay) if is_labelled else np.nan
            due[at // SECOND, partition].append(outcome(**of, **told, metric=LABELLING, value=value))

    def _predicted(self, rng, of, routed_at, due, partition) -> None:
        """What comes with a prediction, of which each fourth is the first of a micro-batch."""
        at = {"time": routed_at + SECOND // 2, "delay": SECOND // 2}
        fails = bool(rng.random() < self.fails[of["lane"]])
        value, seconds = float(rng.integers(5)), rng.lognormal(-3, 0.5, 2) * self.slowness[of["lane"]]
        is_first = rng.random() < 0.25
        outcomes = []
        if PREDICTION in self.kinds:
            outcomes.append(outcome(**of, **at, metric=PREDICTION, value=np.nan if fails else value))
        if ERROR in self.kinds:
            outcomes.append(outcome(**of, **at, metric=ERROR, bad=fails))
        for kind, took in zip((LATENCY, MODEL_LATENCY), seconds.tolist(), strict=True):
            if kind in self.kinds and is_first:
                outcomes.append(outcome(**of, **at, metric=kind, value=took))
        due[routed_at // SECOND, partition] += outcomes
