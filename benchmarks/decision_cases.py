"""Simulated rollouts for benchmarks/decision.py: what each case feeds to the test, block by block.

A case is a function (runs, rng) -> Result. All runs of a case advance together; those that are decided drop out.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from vectorised_decision import ForwardTests

from stream_router.core.deciding.blocks import full_size
from stream_router.core.deciding.e_processes import EProcesses

MAX_LABELS = 20_000

TRAFFIC = 300
"""Predictions between two steps where labels are delayed."""

Blocks = Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]
"""Of each step: indices of the runs that close a block, n_a, n_b, e_a, e_b."""


@dataclass(frozen=True)
class Result:
    """Per run, shape (runs,): whether the verdict fell, after how many canary labels, and when canary went bad."""

    decided: np.ndarray
    canary_labels: np.ndarray
    changed_at: np.ndarray | None = None

    @property
    def rate(self) -> float:
        """Part of the runs that were decided, of those not decided before they went bad."""
        if self.changed_at is None:
            return float(self.decided.mean())
        eligible = ~self.decided | (self.canary_labels > self.changed_at)
        return float(self.decided[eligible].mean())

    @property
    def needed(self) -> np.ndarray:
        """Canary labels until the verdict (since the change) of the runs that were decided."""
        if self.changed_at is None:
            return self.canary_labels[self.decided]
        late = self.decided & (self.canary_labels > self.changed_at)
        return (self.canary_labels - self.changed_at)[late]


Case = Callable[[int, np.random.Generator], Result]


Judge = Callable[[Blocks, int], Result]
"""Feeds the blocks of so many runs to a test."""


def unhealthy(blocks: Blocks, runs: int, alpha: float = 0.05) -> Result:
    """The verdict is that canary is worse."""
    tests = EProcesses(alpha=alpha, psi0=1.0, max_labels=MAX_LABELS, tests=runs)
    return _judged(blocks, tests.update, tests.unhealthy)


def healthy(margin: float, beta: float = 0.05) -> Judge:
    """The verdict is that canary is not worse by the margin."""

    def judge(blocks: Blocks, runs: int) -> Result:
        tests = ForwardTests(margin, beta, runs)
        return _judged(blocks, tests.update, tests.healthy)

    return judge


def _judged(blocks: Blocks, update: Callable[..., None], decided: np.ndarray) -> Result:
    labels = np.zeros(len(decided), int)
    for of, n_a, n_b, e_a, e_b in blocks:
        labels[of] += np.where(decided[of], 0, n_b)
        update(n_a, n_b, e_a, e_b, of)
        if decided.all():
            break
    return Result(decided, labels)


def constant(share: float, stable_error: float, canary_error: float, judge: Judge = unhealthy) -> Case:
    """Blocks full at ceil(10 / share) outcomes, constant error rates."""
    return changing(lambda _: (share, stable_error, canary_error), judge)


def changing(at: Callable[[float], tuple[float, float, float]], judge: Judge = unhealthy) -> Case:
    """`at` maps the progress of the rollout, 0 to 1 of its requests, to share, stable's and canary's error rate."""

    def case(runs: int, rng: np.random.Generator) -> Result:
        mean_share = np.mean([at(progress)[0] for progress in (np.arange(1000) + 0.5) / 1000])
        requests = MAX_LABELS / mean_share

        def blocks() -> Blocks:
            everyone, seen = np.arange(runs), 0
            while seen < requests:
                share, stable_error, canary_error = at(seen / requests)
                size = full_size(share)
                n_b = rng.binomial(size, share, runs)
                n_a = size - n_b
                seen += size
                yield everyone, n_a, n_b, rng.binomial(n_a, stable_error), rng.binomial(n_b, canary_error)

        return judge(blocks(), runs)

    return case


def drift_and_ramp(progress: float) -> tuple[float, float, float]:
    """Accuracy of both lanes falls from 0.95 to 0.85 while the share grows from 1 to 25 % in four equal parts."""
    error = 0.05 + 0.1 * progress
    return (0.01, 0.05, 0.10, 0.25)[int(progress * 4)], error, error


def drift_worse_by(margin: float) -> Callable[[float], tuple[float, float, float]]:
    """As drift_and_ramp, with a canary that is worse by the margin all the while."""

    def at(progress: float) -> tuple[float, float, float]:
        share, stable_error, canary_error = drift_and_ramp(progress)
        return share, stable_error, canary_error + margin

    return at


def late_change(near: int, error: float, share: float = 0.1) -> Case:
    """Canary turns bad at a moment uniform in `near` plus or minus a fifth, in canary labels."""

    def case(runs: int, rng: np.random.Generator) -> Result:
        changes = rng.uniform(0.8 * near, 1.2 * near, runs)
        size = full_size(share)

        def blocks() -> Blocks:
            seen = np.zeros(runs, int)
            everyone = np.arange(runs)
            for _ in range(round(MAX_LABELS / share / size)):
                n_b = rng.binomial(size, share, runs)
                canary_error = np.where(seen >= changes, error, 0.1)
                seen += n_b
                yield everyone, size - n_b, n_b, rng.binomial(size - n_b, 0.1), rng.binomial(n_b, canary_error)

        result = unhealthy(blocks(), runs)
        return Result(result.decided, result.canary_labels, changes)

    return case


def entities(canary_entities: int, *, bursts: bool, labels_each: int = 5, share: float = 0.1) -> Case:
    """Entities with error rates spread with sd 0.1 around 0.1, one outcome each counted.

    bursts: the labels of an entity come together, else in random order over the whole rollout.
    """

    def case(runs: int, rng: np.random.Generator) -> Result:
        total, size = round(canary_entities / share), full_size(share)
        histories = [_first_outcomes(total, canary_entities, labels_each, rng, bursts=bursts) for _ in range(runs)]

        def blocks() -> Blocks:
            everyone = np.arange(runs)
            canary, bad = (np.array(column) for column in zip(*histories, strict=True))
            for start in range(0, total, size):
                c, e = canary[:, start : start + size], bad[:, start : start + size]
                yield everyone, (~c).sum(1), c.sum(1), (e & ~c).sum(1), (e & c).sum(1)

        return unhealthy(blocks(), runs)

    return case


def _first_outcomes(
    total: int, canary_entities: int, labels_each: int, rng: np.random.Generator, *, bursts: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Of one rollout: whether the entity is canary's and whether its outcome is bad, in the order of first outcomes."""
    rates = rng.beta(0.8, 7.2, total)
    if bursts:
        order = np.repeat(rng.permutation(total), labels_each)
    else:
        order = rng.permutation(np.repeat(np.arange(total), labels_each))
    bad = rng.random(len(order)) < rates[order]
    _, first = np.unique(order, return_index=True)
    first.sort()
    return order[first] < canary_entities, bad[first]


def delayed(stable_bad: float, canary_bad: float, *, ripe: bool = True, good: float = 2.0, share: float = 0.1) -> Case:
    """Equal accuracy 0.90; label delays are exponential with these means, in steps of TRAFFIC predictions.

    Arrivals are Poisson, so what enters at a step is too: of the windows that are ripe so far the part whose label
    is there. ripe: windows are as old as the 98 % quantile of stable's bad delays, else as joined.
    """
    horizon = 10 * max(stable_bad, canary_bad, good)

    def case(runs: int, rng: np.random.Generator) -> Result:
        age = -math.log(0.02) * stable_bad if ripe else 0.0

        def entering(mean: float, rate: float, step: int) -> np.ndarray:
            labelled = 1 - math.exp(-min(horizon, age + step) / mean)
            return rng.poisson(rate * labelled, runs)

        def blocks() -> Blocks:
            open_blocks = np.zeros((4, runs), int)
            size = full_size(share)
            for step in range(1, round(MAX_LABELS / share / TRAFFIC) + 1):
                open_blocks[0] += entering(good, 0.9 * TRAFFIC * (1 - share), step)
                open_blocks[1] += entering(stable_bad, 0.1 * TRAFFIC * (1 - share), step)
                open_blocks[2] += entering(good, 0.9 * TRAFFIC * share, step)
                open_blocks[3] += entering(canary_bad, 0.1 * TRAFFIC * share, step)
                of = np.flatnonzero(open_blocks.sum(0) >= size)
                stable_good, e_a, canary_good, e_b = open_blocks[:, of]
                open_blocks[:, of] = 0
                yield of, stable_good + e_a, canary_good + e_b, e_a, e_b

        return unhealthy(blocks(), runs)

    return case
