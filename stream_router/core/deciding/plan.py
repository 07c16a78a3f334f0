"""What a rollout needs until it is decided, simulated with the very tests that decide it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stream_router.core.deciding.blocks import full_size
from stream_router.core.deciding.e_process import EProcess
from stream_router.core.deciding.forward import ForwardTest
from stream_router.core.evidence import share_of_outcomes
from stream_router.core.policy import Policy


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A rollout to come, judged by its accuracy alone.

    accuracy: stable's, 0 to 1; drop: by how much canary's is lower; share: canary's part of the requests; rate:
    requests of both lanes a second; label_delay: milliseconds from a request to its label; labelled: part of the
    requests that ever get one. Each label is taken as one of another entity.
    """

    policy: Policy
    accuracy: float
    drop: float
    share: float
    rate: float
    label_delay: int
    labelled: float = 1.0

    def seconds_until(self, labels: float, waits: int) -> float:
        """From the first request until so many of canary's labels are there, and `waits` milliseconds are over."""
        return labels / (self.rate * self.share * self.labelled) + waits / 1000

    @property
    def until_ripe(self) -> int:
        """Milliseconds from a window's end until its labels are bet on, at most the label horizon."""
        return self.policy.window + min(self.label_delay, self.policy.label_horizon)


@dataclass(frozen=True, slots=True)
class Run:
    """One simulated rollout: canary labels at which it was found worse, and shown to be no worse; None for never."""

    unhealthy_at: int | None
    healthy_at: int | None

    @property
    def is_found(self) -> bool:
        """Whether it was rolled back, and had not been shown to be healthy before."""
        return self.unhealthy_at is not None and (self.healthy_at is None or self.unhealthy_at <= self.healthy_at)


def simulate(plan: Plan, drop: float, runs: int, rng: np.random.Generator) -> Iterator[Run]:
    """So many independent rollouts of a canary whose accuracy is `drop` below stable's, until max_labels each."""
    return (_run(plan, drop, rng) for _ in range(runs))


def _run(plan: Plan, drop: float, rng: np.random.Generator) -> Run:
    """It goes on until the first of both verdicts."""
    policy, metric = plan.policy, plan.policy.metric("accuracy")
    backward = EProcess(
        alpha=policy.alpha * metric.weight, psi0=policy.tolerated_odds_ratio, max_labels=policy.max_labels
    )
    forward = ForwardTest(metric.margin, policy.beta)
    share, stable, canary = share_of_outcomes(plan.share), 1 - plan.accuracy, 1 - plan.accuracy + drop
    size, labels = full_size(share), 0
    for n_b in _canary_outcomes(rng, size, share):
        n_a = size - n_b
        block = n_a, n_b, int(rng.binomial(n_a, stable)), int(rng.binomial(n_b, canary))
        labels += n_b
        backward.update(*block)
        forward.update(*block)
        if backward.unhealthy or forward.healthy:
            return Run(labels if backward.unhealthy else None, labels if forward.healthy else None)
        if labels >= policy.max_labels:
            break
    return Run(None, None)


def _canary_outcomes(rng: np.random.Generator, size: int, share: float) -> Iterator[int]:
    """Of each block; drawn many at a time."""
    while True:
        yield from rng.binomial(size, share, 256).tolist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Of the runs that got a verdict: how many, canary labels, seconds until it and requests answered by canary.

    The three are (10 %, median, 90 %) over these runs; None where there are none.
    """

    runs: int
    of: int
    labels: tuple[float, float, float] | None
    seconds: tuple[float, float, float] | None
    requests: tuple[float, float, float] | None


def spread(plan: Plan, found: list[int], runs: int, waits: int) -> Spread:
    """Of the canary labels at which `found` runs out of `runs` got the verdict; `waits` as in `Plan.seconds_until`."""
    if not found:
        return Spread(runs=0, of=runs, labels=None, seconds=None, requests=None)
    low, median, high = np.quantile(found, (0.1, 0.5, 0.9)).tolist()
    labels = (low, median, high)
    seconds = (plan.seconds_until(low, waits), plan.seconds_until(median, waits), plan.seconds_until(high, waits))
    per_second = plan.rate * plan.share
    requests = (seconds[0] * per_second, seconds[1] * per_second, seconds[2] * per_second)
    return Spread(runs=len(found), of=runs, labels=labels, seconds=seconds, requests=requests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """bad_found: the canary with the drop is rolled back. bad_passed: it was shown healthy before, in so many runs.

    good_passed: an equal canary is shown to be healthy. good_rolled_back: it was rolled back before, in so many runs.
    """

    bad_found: Spread
    bad_passed: int
    good_passed: Spread
    good_rolled_back: int


def forecast(plan: Plan, bad: list[Run], good: list[Run]) -> Forecast:
    """`bad` are runs with the plan's drop, `good` those without any."""
    found = [run.unhealthy_at for run in bad if run.is_found and run.unhealthy_at is not None]
    passed = [run.healthy_at for run in good if run.healthy_at is not None and not run.is_found]
    mature = plan.policy.matures_after
    return Forecast(
        bad_found=spread(plan, found, len(bad), plan.until_ripe),
        bad_passed=sum(run.healthy_at is not None and not run.is_found for run in bad),
        good_passed=spread(plan, passed, len(good), max(mature, plan.until_ripe)),
        good_rolled_back=sum(run.is_found for run in good),
    )


def faults(plan: Plan) -> Iterator[str]:
    """What of the plan is impossible, in words."""
    for name in ("accuracy", "share", "labelled"):
        if not 0 < (value := getattr(plan, name)) <= 1:
            yield f"{name} is {value}: must be above 0 and at most 1"
    if not 0 < plan.drop < plan.accuracy:
        yield f"the drop is {plan.drop}: must be above 0 and below the accuracy, {plan.accuracy}"
    if plan.share == 1:
        yield "the share is 1: nothing is left of stable to compare with"
    if not (plan.rate > 0 and math.isfinite(plan.rate)):
        yield f"the rate is {plan.rate}: must be a number of requests a second above 0"
