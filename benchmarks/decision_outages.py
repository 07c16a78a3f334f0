"""Cases of benchmarks/decision.py in which outcomes of canary come late, or of stable only a part."""

import math
from collections.abc import Iterable

import numpy as np
from decision_cases import MAX_LABELS, Blocks, Case, Judge, Result, unhealthy

from stream_router.core.deciding.blocks import full_size
from stream_router.core.evidence import STABLE_PER_CANARY, share_of_outcomes

MINUTES = 12 * 60
A_MINUTE = 60
"""Requests, of which canary has a tenth: a block spans two windows."""

PREDICTION_DEADLINE = 5

Steps = Iterable[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]
"""What enters at each: n_a, n_b, e_a, e_b, each of shape (runs,)."""


def down(hours: float, speed: float, *, late_rule: bool = True) -> Case:
    """Canary's job is down for so long, from half an hour to two after the start, and catches up at `speed` times.

    The error rate of both lanes falls from 0.15 to 0.05 in six hours. Windows are of a minute and ripe after the
    prediction deadline; what is scored later than that is no outcome, or without the rule one of the time of scoring.
    """

    def case(runs: int, rng: np.random.Generator) -> Result:
        began = rng.uniform(30, 120, runs)
        minutes = np.arange(MINUTES)[:, np.newaxis]
        # In a queue served at `speed` times the rate at which it grows.
        backlog_scored = began + 60 * hours + (minutes - began) / speed
        scored = np.where(minutes < began, minutes, np.maximum(minutes, backlog_scored))
        error = np.maximum(0.15 - 0.1 * minutes / 360, 0.05)
        canary = rng.poisson(0.1 * A_MINUTE, (MINUTES, runs))
        is_late = scored - minutes > PREDICTION_DEADLINE
        if late_rule:
            canary[is_late] = 0
        canary_bad = rng.binomial(canary, error)
        enters = np.where(is_late, np.ceil(scored), minutes).astype(int)
        n_b, e_b = (_moved(counts, enters) for counts in (canary, canary_bad))
        n_a = rng.poisson(0.9 * A_MINUTE, (MINUTES, runs))
        steps = zip(n_a, n_b, rng.binomial(n_a, error), e_b, strict=True)
        return unhealthy(_filled(steps, runs, full_size(0.1)), runs)

    return case


def thinned(share: float, stable_error: float, canary_error: float, judge: Judge = unhealthy) -> Case:
    """Of stable enters 20 times what canary has, drawn from the requests; a step has half a block."""
    kept = STABLE_PER_CANARY * share / (1 - share)

    def case(runs: int, rng: np.random.Generator) -> Result:
        requests = math.ceil(5 / share)

        def steps() -> Steps:
            for _ in range(MAX_LABELS // 5):
                canary = rng.binomial(requests, share, runs)
                stable = rng.binomial(requests - canary, kept)
                yield stable, canary, rng.binomial(stable, stable_error), rng.binomial(canary, canary_error)

        return judge(_filled(steps(), runs, full_size(share_of_outcomes(share))), runs)

    return case


def _moved(counts: np.ndarray, enters: np.ndarray) -> np.ndarray:
    """Shape (minutes, runs): what was counted at each minute, at the minute at which it enters."""
    moved = np.zeros_like(counts)
    within = enters < len(counts)
    runs = np.broadcast_to(np.arange(counts.shape[1]), counts.shape)
    np.add.at(moved, (enters[within], runs[within]), counts[within])
    return moved


def _filled(steps: Steps, runs: int, size: int) -> Blocks:
    """Blocks that close on their total, at the end of a step."""
    held = np.zeros((4, runs), int)
    for step in steps:
        held += step
        of = np.flatnonzero(held[0] + held[1] >= size)
        closed = held[:, of]
        held[:, of] = 0
        yield of, *closed
