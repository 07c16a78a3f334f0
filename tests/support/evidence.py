"""Records of R.evidence for tests: single ones, and whole simulated rollouts."""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from stream_router.core.evidence import Count, EpochInForce, Evidence, Outcome, RolloutStarted, in_columns
from stream_router.core.policy import Policy
from stream_router.core.routing.applied_split import Versions

SECOND = 1_000
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

    def records(self) -> list[Evidence]:
        rng = np.random.default_rng(self.seed)
        due: dict[tuple[int, int], list[Outcome]] = defaultdict(list)
        counts: dict[tuple[int, int], list[Count]] = defaultdict(list)
        for second in range(self.seconds):
            epoch = max(number for number, (start, _) in enumerate(self.epochs) if start <= second)
            for _ in range(self.a_second):
                self._request(rng, second * SECOND, epoch, due, counts)
        records = [started(self.rollout, self.ripe_age, self.policy)]
        for second in range(self.seconds):
            for number, (start, share) in enumerate(self.epochs):
                if start == second:
                    records.append(in_force(number + 1, share, self.rollout))
            for partition in range(self.partitions):
                at = (second, partition)
                records.append(flush(partition, *due[at], watermark=(second + 1) * SECOND, counts=counts[at]))
        return records

    def _request(self, rng, routed_at, epoch, due, counts) -> None:
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
        if routed_at + delay > window + self.policy.window + self.policy.label_horizon:
            return
        counts[labelled].append(Count(**of, labelled=1, correct=int(not bad)))
        due[labelled].append(
            outcome(
                window=window,
                epoch=epoch + 1,
                digest=f"d{epoch + 1}",
                rollout=self.rollout,
                lane=lane,
                entity=int(rng.integers(50)) if known_entity else int(rng.integers(2**62)),
                order=int(rng.integers(-(2**63), 2**63 - 1)),
                delay=delay,
                time=routed_at + delay,
                bad=bad,
            ),
        )
