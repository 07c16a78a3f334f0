"""Cases of benchmarks/decision.py that begin with a first rollout: younger windows tell the ripe age."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from decision_cases import MAX_LABELS, Blocks, Case, Result, unhealthy

from stream_router.core.deciding.blocks import full_size
from stream_router.core.deciding.ripeness import RipeAge, Ripeness
from stream_router.core.evidence import BadDelays, Evidence
from stream_router.core.histogram import bucket_of
from stream_router.core.policy import Policy

MINUTE, DAY = 60_000, 24 * 60.0
"""In milliseconds, in minutes: delays of labels are in minutes here."""

TRAFFIC, ERROR, SHARE = 300, 0.1, 0.1
"""Predictions a minute, the part of them that is wrong, canary's share."""

HISTORIES = 8
"""Different histories of stable by which the runs of one case are told their ripe age."""

Draw = Callable[[np.random.Generator, int], np.ndarray]
"""So many delays of labels, in minutes."""


@dataclass(frozen=True)
class Delays:
    """A mixture of exponential delays: the part of the labels that takes so many minutes on average."""

    parts: tuple[tuple[float, float], ...]

    def labelled(self, age: np.ndarray) -> np.ndarray:
        """The part of the labels that is there at each age, in minutes."""
        return sum(part * -np.expm1(-age / mean) for part, mean in self.parts)

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        part, mean = np.transpose(self.parts)
        return rng.exponential(mean[rng.choice(len(part), n, p=part)])


def exponential(mean: float) -> Delays:
    return Delays(((1.0, mean),))


def mixed(early: float) -> Delays:
    """So much within minutes, the rest after days."""
    return Delays(((early, 2.0), (1 - early, 3 * DAY)))


def within(minutes: float) -> Draw:
    """Evenly spread up to so many minutes."""
    return lambda rng, n: rng.uniform(0, minutes, n)


def first_bet(draw: Draw, bad_a_minute: int = 10) -> Case:
    """Minutes from stable's first request to the first bet on a canary of the next one, in place of canary labels.

    The rollout starts once the age is known, and its first window fills a block.
    """

    def case(runs: int, rng: np.random.Generator) -> Result:
        policy = Policy(window=MINUTE, label_horizon=round(DAY) * MINUTE)
        needed = []
        for _ in range(runs):
            started, age = _told(policy, draw, bad_a_minute, rng)
            needed.append(age.verdict_from(policy, started * MINUTE) / MINUTE)
        return Result(np.ones(runs, bool), np.array(needed))

    return case


def first_rollout(stable: Delays, canary: Delays, *, horizon: float = DAY, ripe_age: float | None = None) -> Case:
    """Equal accuracy; wrong answers are labelled so, right ones within 2 minutes on average; times in minutes.

    ripe_age: the policy's, else what stable's history tells as soon as it tells anything.
    """

    def case(runs: int, rng: np.random.Generator) -> Result:
        policy = Policy(window=MINUTE, label_horizon=round(horizon) * MINUTE)
        if ripe_age is None:
            told = [_told(policy, stable.draw, round(TRAFFIC * ERROR), rng)[1].ms / MINUTE for _ in range(HISTORIES)]
            ages = np.resize(told, runs)
        else:
            ages = np.full(runs, ripe_age)
        good = exponential(2.0)

        def blocks() -> Blocks:
            held, size = np.zeros((4, runs), int), full_size(SHARE)
            for minute in range(1, round(MAX_LABELS / SHARE / TRAFFIC) + 1):
                # All that has entered by now of a window a minute, the last one as old as the ripe age: the new of the
                # window i is F(age + minute - i) - F(age + minute - i - 1), which adds up to this.
                age = np.minimum(ages + minute, horizon)
                for place, (rate, delays) in enumerate(
                    (
                        ((1 - ERROR) * (1 - SHARE), good),
                        (ERROR * (1 - SHARE), stable),
                        ((1 - ERROR) * SHARE, good),
                        (ERROR * SHARE, canary),
                    )
                ):
                    held[place] += rng.poisson(TRAFFIC * rate * delays.labelled(age))
                of = np.flatnonzero(held.sum(0) >= size)
                stable_good, e_a, canary_good, e_b = held[:, of]
                held[:, of] = 0
                yield of, stable_good + e_a, canary_good + e_b, e_a, e_b

        return unhealthy(blocks(), runs)

    return case


def _told(policy: Policy, draw: Draw, bad_a_minute: int, rng: np.random.Generator) -> tuple[int, RipeAge]:
    """The minute at which the ripe age is first told by younger windows, and it; the horizon if none of a day does."""
    ripeness = Ripeness(policy)
    due: dict[int, dict[int, Counter[int]]] = {}
    for minute in range(1, round(DAY)):
        start = (minute - 1) * MINUTE
        routed_at = start + rng.integers(0, MINUTE, bad_a_minute)
        for routed, delay in zip(
            routed_at.tolist(), (draw(rng, bad_a_minute) * MINUTE).astype(int).tolist(), strict=True
        ):
            known = (routed + delay) // MINUTE + 1
            due.setdefault(known, {}).setdefault(start, Counter())[bucket_of(delay)] += 1
        came = tuple(BadDelays(window, delays) for window, delays in due.pop(minute, {}).items())
        now = minute * MINUTE
        ripeness.on_record(Evidence(by="", written_at=now, partition=0, watermark=now, bad_delays=came), now)
        estimate = ripeness.estimate
        if estimate.basis == "younger windows":
            return minute, estimate
    return round(DAY), ripeness.estimate
