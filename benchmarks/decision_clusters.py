"""Cases of benchmarks/decision.py in which errors come in clusters: a job fails for a moment, a user's requests always.

Ten jobs share 100 requests a second, one of them is canary's. A job fails at random moments for so many seconds: all
that it scores then is an error. Blocks are of a minute; the level is error rate's part of alpha.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from decision_cases import MAX_LABELS, Case, Result

from stream_router.core.deciding.e_processes import EProcesses
from stream_router.core.policy import Policy

JOBS, RATE, BATCHES = 10, 100, 5
"""Jobs, requests a second of all, and micro-batches a second of a job at most."""

MINUTES = 24 * 60

Unit = Literal["request", "micro-batch", "second"]
"""What gives one outcome: the last is that of a lane, as error rate has it."""

ALPHA = Policy().alpha * Policy().metric("error_rate").weight


@dataclass(frozen=True)
class Failures:
    """Of each job so many an hour, each of so many seconds; and of single answers a rate in each lane."""

    an_hour: float = 0.0
    seconds: float = 0.0
    stable: float = 0.001
    canary: float = 0.001


def clusters(failures: Failures, unit: Unit = "second") -> Case:
    """Of a day; minutes in place of canary labels."""

    def case(runs: int, rng: np.random.Generator) -> Result:
        tests = EProcesses(alpha=ALPHA, psi0=1.0, max_labels=MAX_LABELS, tests=runs)
        minutes = np.zeros(runs, int)
        draw = _seconds if unit == "second" else _of_jobs
        per_job = RATE / JOBS if unit == "request" else -BATCHES * np.expm1(-RATE / JOBS / BATCHES)
        for _ in range(MINUTES):
            on = np.flatnonzero(~tests.unhealthy)
            if not len(on):
                break
            fails = rng.poisson(failures.an_hour / 60, (len(on), JOBS)) > 0
            minutes[on] += 1
            tests.update(*draw(failures, fails, per_job, rng), on)
        return Result(tests.unhealthy.copy(), minutes)

    return case


def _of_jobs(failures: Failures, fails: np.ndarray, per_second: float, rng: np.random.Generator) -> list[np.ndarray]:
    """n_a, n_b, e_a, e_b of a minute: so many outcomes a job and second, canary's job being the first."""
    n = rng.poisson(60 * per_second, fails.shape)
    spoiled = np.minimum(np.where(fails, rng.poisson(per_second * failures.seconds, fails.shape), 0), n)
    rate = np.where(np.arange(JOBS) == 0, failures.canary, failures.stable)
    bad = spoiled + rng.binomial(n - spoiled, rate)
    return [n[:, 1:].sum(1), n[:, 0], bad[:, 1:].sum(1), bad[:, 0]]


def _seconds(failures: Failures, fails: np.ndarray, _: float, rng: np.random.Generator) -> list[np.ndarray]:
    """The same of one outcome a lane and second, of a job drawn at random."""
    runs, every = len(fails), np.arange(len(fails))[:, np.newaxis]
    begun = rng.uniform(0, 60, fails.shape)
    bad = []
    for jobs, rate in ((np.arange(1, JOBS), failures.stable), (np.arange(1), failures.canary)):
        job = rng.choice(jobs, (runs, 60))
        since = np.arange(60) + rng.random((runs, 60)) - begun[every, job]
        spoiled = fails[every, job] & (since >= 0) & (since < failures.seconds)
        bad.append((spoiled | (rng.random((runs, 60)) < rate)).sum(1))
    return [np.full(runs, 60), np.full(runs, 60), *bad]


def failing_users(part: float, users: int = 1_000, *, once: bool = True) -> Case:
    """Of canary's users and nine times as many of stable a part whose requests all fail; one outcome a lane and second.

    once: each user counts once, as error rate has it.
    """

    def case(runs: int, rng: np.random.Generator) -> Result:
        tests = EProcesses(alpha=ALPHA, psi0=1.0, max_labels=MAX_LABELS, tests=runs)
        every, minutes = np.arange(runs)[:, np.newaxis], np.zeros(runs, int)
        lanes = [(n, rng.random((runs, n)) < part, np.zeros((runs, n), bool)) for n in (9 * users, users)]
        for _ in range(MINUTES // 3):
            counts = []
            for n, fails, seen in lanes:
                user = rng.integers(n, size=(runs, 60))
                fresh = np.ones(user.shape, bool)
                if once:
                    fresh = ~seen[every, user]
                    ordered = np.sort(user, axis=1)
                    doubled = (ordered[:, 1:] == ordered[:, :-1]).any(1)
                    for run in np.flatnonzero(doubled).tolist():
                        first = np.zeros(60, bool)
                        first[np.unique(user[run], return_index=True)[1]] = True
                        fresh[run] &= first
                    seen[every, user] = True
                counts.append((fresh.sum(1), (fresh & fails[every, user]).sum(1)))
            (n_a, e_a), (n_b, e_b) = counts
            minutes += ~tests.unhealthy
            tests.update(n_a, n_b, e_a, e_b)
        return Result(tests.unhealthy.copy(), minutes)

    return case
