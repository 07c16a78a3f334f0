"""Cases of benchmarks/decision.py in which several metrics judge one healthy canary: does any call it unhealthy?"""

import numpy as np
from decision_cases import MAX_LABELS, Case, Result
from vectorised_decision import TwoSideds

from stream_router.core.deciding.blocks import full_size
from stream_router.core.deciding.e_processes import EProcesses
from stream_router.core.deciding.metrics.latency import ENOUGH

ALPHA = 0.05
WEIGHTS = {"accuracy": 0.6, "error_rate": 0.2, "latency_p50": 0.07, "latency_p99": 0.13}
SIGNAL = 0.2
"""Of each two-sided test."""

CHUNK = 250
"""Runs at a time, as each outcome's latency is drawn."""

KEPT, EVERY = 2_000, 10
"""Outcomes that quantiles are taken of, blocks between two takings: fewer than in the product, which takes longer."""


def four_metrics(share: float = 0.1) -> Case:
    """Accuracy, errors and two latencies; latency of both lanes wanders by a factor of 2 and more."""

    def case(runs: int, rng: np.random.Generator) -> Result:
        parts = [_four(min(CHUNK, runs - at), share, rng) for at in range(0, runs, CHUNK)]
        return Result(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    return case


def _four(runs: int, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Whether any metric calls canary unhealthy, and after how many canary outcomes: shape (runs,)."""
    tests = {
        name: EProcesses(alpha=ALPHA * weight, psi0=1.0, max_labels=MAX_LABELS, tests=runs)
        for name, weight in WEIGHTS.items()
    }
    size, everyone = full_size(share), np.arange(runs)
    held = np.full((runs, KEPT // size, size), np.inf)  # of stable; the place of an outcome of canary stays infinite
    level, labels, decided = np.zeros(runs), np.zeros(runs, int), np.zeros(runs, bool)
    bounds: dict[str, np.ndarray] = {}
    for number in range(round(MAX_LABELS / share / size)):
        canary = rng.random((runs, size)) < share
        error = rng.random((runs, size)) < 0.01
        bad = {"accuracy": error | (rng.random((runs, size)) < 0.1), "error_rate": error}
        level += rng.normal(0, 0.03, runs)
        seconds = np.exp(level[:, None] + 0.5 * np.sin(number / 50) + 0.5 * rng.normal(size=(runs, size)))
        bad |= {name: seconds > bound[:, None] for name, bound in bounds.items()}
        n_b = canary.sum(1)
        labels += np.where(decided, 0, n_b)
        for name, flags in bad.items():
            tests[name].update(size - n_b, n_b, (flags & ~canary).sum(1), (flags & canary).sum(1))
            decided |= tests[name].unhealthy
        held[:, number % held.shape[1]] = np.where(canary, np.inf, seconds)
        known = np.isfinite(held).sum((1, 2))
        if known.min() >= ENOUGH and number % EVERY == 0:
            ordered = np.sort(held.reshape(runs, -1), axis=1)
            for name, q in (("latency_p50", 0.5), ("latency_p99", 0.99)):
                bounds[name] = ordered[everyone, np.ceil(q * known).astype(int) - 1]
    return decided, labels


def signals(share: float = 0.1, most: int = MAX_LABELS) -> Case:
    """Attrition, coverage, revisions and a prediction mix of three classes: does any hold within `most` labels?"""

    def case(runs: int, rng: np.random.Generator) -> Result:
        size, everyone = full_size(share), np.arange(runs)
        alone = [TwoSideds(ALPHA * SIGNAL, MAX_LABELS, runs) for _ in range(3)]
        # a class that is never seen is one, too
        mix = [TwoSideds(ALPHA * SIGNAL / 4, MAX_LABELS, runs) for _ in range(4)]
        learnt, decided, labels = 0, np.zeros(runs, bool), np.zeros(runs, int)
        for _ in range(round(most / share / size)):
            n_b = rng.binomial(size, share, runs)
            lanes = [_labelling(n, rng) for n in (size - n_b, n_b)]
            for test, (n_a, e_a), (of_b, e_b) in zip(alone, *lanes, strict=True):
                test.update(n_a, of_b, e_a, e_b, everyone)
                decided |= test.unhealthy
            if learnt >= ENOUGH:
                classes = [rng.multinomial(n, (0.7, 0.2, 0.1, 0.0)).T for n in (size - n_b, n_b)]
                for test, e_a, e_b in zip(mix, *classes, strict=True):
                    test.update(size - n_b, n_b, e_a, e_b, everyone)
                    decided |= test.unhealthy
                decided |= sum(test.mean for test in mix) / 4 >= 1 / (ALPHA * SIGNAL)
            learnt += int((size - n_b).min())
            labels += np.where(decided, 0, n_b)
        return Result(decided, labels)

    return case


def _labelling(n: np.ndarray, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Outcomes and bad ones of attrition, coverage and revisions, of n requests a run."""
    never = rng.binomial(n, 0.1)
    late, revised = rng.binomial(n - never, 0.02), rng.binomial(n - never, 0.02)
    return [(n, never), (n, never + late), (n - never, revised)]
