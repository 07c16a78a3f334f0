"""How often the sequential tests call a healthy canary unhealthy and a bad one healthy, and how soon they are right."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import click
import numpy as np
import page
from decision_cases import (
    Case,
    Judge,
    Result,
    changing,
    constant,
    delayed,
    drift_and_ramp,
    drift_worse_by,
    entities,
    healthy,
    late_change,
)
from decision_clusters import Failures, clusters, failing_users
from decision_metrics import four_metrics, signals
from decision_naive import fixed_threshold, repeated_z
from decision_outages import down, thinned
from decision_ripe import DAY, exponential, first_bet, first_rollout, mixed, within
from rich.console import Console

from stream_router.core.deciding.blocks import Block
from stream_router.core.deciding.e_process import EProcess
from stream_router.core.deciding.e_processes import EProcesses
from stream_router.core.deciding.metrics.prediction_mix import MixTest
from stream_router.core.deciding.rows import ROW
from stream_router.core.evidence import PREDICTION
from stream_router.core.policy import Policy


@dataclass(frozen=True)
class Row:
    """What is asked of a case: the most or the least part that gets the verdict, and canary labels needed.

    longest: the most minutes that any run may need, where a case tells minutes. times: how often the median of the
    case in `beside` the median may be. beside: cases on the same seed, of which the rate and the median are shown.
    """

    name: str
    case: Case
    most: float | None = None
    longest: float | None = None
    times: float | None = None
    beside: Mapping[str, Case] = field(default_factory=dict)
    mean: int | None = None
    median: int | None = None
    p90: int | None = None
    power: float | None = None
    runs: float = 1.0
    verdict: str = "unhealthy"

    def line(self, result: Result, beside: Mapping[str, Result]) -> tuple[str, str, bool]:
        """Target, measured, and whether it is met."""
        target, measured, met = self._own(result, beside)
        for name, other in beside.items():
            after = f" after {np.median(other.needed):,.0f}" if other.decided.any() and self.most is None else ""
            measured += f"; {name} {other.rate:.1%}{after}"
        return target, measured, met

    def _own(self, result: Result, beside: Mapping[str, Result]) -> tuple[str, str, bool]:
        if self.most is not None:
            return f"{self.verdict} <= {self.most:.1%}", f"{result.rate:.2%}", result.rate <= self.most
        needed = result.needed
        if self.longest is not None:
            found, median = needed.max(), np.median(needed)
            return f"within {self.longest:.0f} min", f"median {median:.1f}, max {found:.1f}", found <= self.longest
        if self.times is not None:
            (name, other), *_ = beside.items()
            times = np.median(needed) / np.median(other.needed)
            met = bool(times <= self.times)
            return f"median <= {self.times:g} x {name}", f"median {np.median(needed):,.0f}, {times:.2f} x", met
        found = {"mean": needed.mean(), "median": np.median(needed), "p90": np.quantile(needed, 0.9)}
        wanted = {"mean": self.mean, "median": self.median, "p90": self.p90}
        targets = [f"{name} <= {limit:,}" for name, limit in wanted.items() if limit is not None]
        measured = [f"{name} {found[name]:,.0f}" for name, limit in wanted.items() if limit is not None]
        met = all(limit is None or found[name] <= limit for name, limit in wanted.items())
        if self.power is not None:
            targets.append(f"power >= {self.power:g}")
            met &= result.rate >= self.power
        measured.append(f"power {result.rate:.4f}")
        return ", ".join(targets), ", ".join(measured), met


def naive(case: Callable[[Judge], Case]) -> dict[str, Case]:
    """What is done elsewhere on the same data."""
    return {"fixed threshold": case(fixed_threshold), "repeated z-test": case(repeated_z)}


def rows() -> Iterator[Row]:
    for share in (0.01, 0.05, 0.10, 0.25, 0.50):
        beside = naive(lambda judge: constant(0.1, 0.1, 0.1, judge)) if share == 0.10 else {}
        yield Row(f"healthy, share {share:.0%}", constant(share, 0.1, 0.1), most=0.055, beside=beside)
    for error in (0.01, 0.3):
        yield Row(f"healthy, error {error}, share 10%", constant(0.1, error, error), most=0.055)
    yield Row(
        "healthy, drift 0.95 -> 0.85, ramp 1 -> 25%",
        changing(drift_and_ramp),
        most=0.055,
        beside=naive(lambda judge: changing(drift_and_ramp, judge)),
    )
    yield Row(
        "0.85, share 10%",
        constant(0.10, 0.1, 0.15),
        mean=360,
        median=300,
        p90=740,
        power=1,
        beside=naive(lambda judge: constant(0.10, 0.1, 0.15, judge)),
    )
    yield Row("0.85, share 5%", constant(0.05, 0.1, 0.15), mean=345, median=290, p90=690, power=1)
    yield Row("0.80, share 10%", constant(0.10, 0.1, 0.2), median=100, p90=210)
    yield Row("0.88, share 10%", constant(0.10, 0.1, 0.12), median=1_800, p90=4_700, power=0.99)
    yield Row("0.88, share 5%", constant(0.05, 0.1, 0.12), median=1_650, p90=4_350, power=0.99)
    yield Row("error 0.01 -> 0.02, share 10%", constant(0.10, 0.01, 0.02), median=1_000, p90=2_400)
    for near in (2_500, 7_500, 15_000):
        yield Row(f"turns to 0.85 near {near:,} labels", late_change(near, 0.15), median=780, p90=1_400)
        yield Row(f"turns to 0.80 near {near:,} labels", late_change(near, 0.20), median=270, p90=430)
    yield Row("errors labelled 4x slower in both lanes, ripe", delayed(8, 8), most=0.057, runs=0.5)
    yield Row("canary's errors labelled 4x earlier, ripe", delayed(8, 2), most=0.06, runs=0.5)
    yield Row("the same, as joined (not what is done)", delayed(8, 2, ripe=False), most=1.0, runs=0.1)
    yield from first_rollouts()
    for share in (0.01, 0.001):
        yield Row(f"healthy, share {share:.1%}, stable thinned", thinned(share, 0.1, 0.1), most=0.055)
        beside = {"unthinned": constant(share, 0.1, 0.15)}
        yield Row(f"0.85, share {share:.1%}, stable thinned", thinned(share, 0.1, 0.15), times=1.1, beside=beside)
    for hours, speed in ((3, 3.0), (1, 1.2)):
        name = f"canary's job down {hours} h, catches up at {speed:g}x, drift 0.15 -> 0.05"
        beside = {"without the late rule": down(hours, speed, late_rule=False)}
        yield Row(name, down(hours, speed), most=0.06, beside=beside)
    yield from in_clusters()
    yield Row("four metrics, latency with shared drift", four_metrics(), most=0.055)
    yield Row("two-sided signals together", signals(), most=0.05, verdict="holds")
    for canary_entities, part in ((300, 0.5), (3_000, 0.1)):
        for name, bursts in (("at once", True), ("over time", False)):
            case = entities(canary_entities, bursts=bursts)
            yield Row(f"{canary_entities:,} entities, 5 labels {name}", case, most=0.055, runs=part)
    margin = 0.02
    yield Row(
        "equal canary, margin 0.02, share 10%",
        constant(0.1, 0.1, 0.1, healthy(margin)),
        median=1_500,
        p90=3_800,
        power=1,
        verdict="healthy",
    )
    worse = constant(0.1, 0.1, 0.1 + margin, healthy(margin))
    yield Row("worse by the margin, share 10%", worse, most=0.05, verdict="healthy")
    drifting = changing(drift_worse_by(margin), healthy(margin))
    yield Row("worse by the margin, drift and ramp", drifting, most=0.05, verdict="healthy")


def first_rollouts() -> Iterator[Row]:
    """Ripe ages told by windows younger than the label horizon."""
    yield Row("first rollout, labels within 10 minutes: first bet", first_bet(within(10)), longest=45, runs=0.05)
    slow, days = exponential(8), 20 * DAY
    yield Row("first rollout, errors labelled 4x slower", first_rollout(slow, slow), most=0.057, runs=0.5)
    yield Row("the same, canary's 4x earlier", first_rollout(slow, exponential(2)), most=0.06, runs=0.5)
    same = first_rollout(mixed(0.6), mixed(0.6), horizon=days)
    yield Row("first rollout, 40% of errors labelled after days", same, most=0.057, runs=0.5)
    unequal = first_rollout(mixed(0.6), mixed(0.8), horizon=days, ripe_age=days)
    beside = {"ripe age observed": first_rollout(mixed(0.6), mixed(0.8), horizon=days)}
    name = "the same, 20% of canary's, ripe age: horizon"
    yield Row(name, unequal, most=0.06, runs=0.5, beside=beside)


def in_clusters() -> Iterator[Row]:
    """Error rate alone, at 0.01: a day of 100 requests a second."""
    for an_hour, seconds, most in (
        (1, 1, 0.015),
        (4, 0.2, 0.015),
        (1 / 24, 5, 0.02),
        (1 / 24, 10, 0.05),
        (1 / 24, 30, 1),
    ):
        often = f"{an_hour:g} x an hour" if an_hour >= 1 else "once a day"
        failures = Failures(an_hour, seconds)
        beside = {f"a {unit}": clusters(failures, unit) for unit in ("request", "micro-batch")}
        name = f"each job fails for {seconds:g} s {often}" + (" (not covered)" if most == 1 else "")
        yield Row(name, clusters(failures), most=most, beside=beside, runs=0.1)
    beside = {"each request of theirs": failing_users(0.005, once=False)}
    yield Row("requests of 0.5% of users always fail", failing_users(0.005), most=0.015, beside=beside, runs=0.05)
    for stable, canary, longest in ((0.01, 0.02, 240), (0.001, 0.01, 120), (0.001, 0.1, 10), (0.001, 1.0, 2)):
        failures = Failures(stable=stable, canary=canary)
        yield Row(f"errors {stable:g} -> {canary:g}, found", clusters(failures), longest=longest, runs=0.025)


def measure(index: int, runs: int, seed: int) -> tuple[str, int, str, str, bool, float]:
    """One row: name, runs, target, measured, met, seconds."""
    row = list(rows())[index]
    runs = max(100, round(runs * row.runs))
    began = time.perf_counter()
    result = row.case(runs, np.random.default_rng([seed, index]))
    beside = {name: case(runs, np.random.default_rng([seed, index])) for name, case in row.beside.items()}
    return row.name, runs, *row.line(result, beside), time.perf_counter() - began


def costs(blocks: int = 2_000) -> Iterator[tuple[str, float, float]]:
    """What a block costs: of which test, the most microseconds that it may, and those that it does in quiet moments."""
    rng = np.random.default_rng(0)
    n_b = rng.binomial(100, 0.1, blocks)
    drawn = [n.tolist() for n in (100 - n_b, n_b, rng.binomial(100 - n_b, 0.1), rng.binomial(n_b, 0.1))]
    alone = EProcess(alpha=1e-9, psi0=1.0, max_labels=20_000)
    yield "one metric", 100, _quickest([partial(alone.update, *block) for block in zip(*drawn, strict=True)])
    for classes in (3, 31):
        mix = MixTest(Policy(), 1e-9, {})
        fed = [_predictions(classes, int(canary), rng) for canary in n_b]
        for block in fed[:20]:  # learnt from
            mix.update(block)
        yield f"prediction mix, {classes} classes", 100, _quickest([partial(mix.update, block) for block in fed[20:]])
    together = EProcesses(alpha=1e-9, psi0=1.0, max_labels=20_000, tests=blocks)
    columns = list(map(np.array, drawn))
    yield "vectorised over runs", 10, _quickest([partial(together.update, *columns)] * 20, 1) / blocks


def _predictions(classes: int, canary: int, rng: np.random.Generator) -> Block:
    """Of 100 requests."""
    rows = np.zeros(100, ROW)
    rows["value"] = rng.integers(classes, size=100)
    return Block(
        rollout=1, metric=PREDICTION, epoch=1, digest="", opened_at=0, stable=rows[canary:], canary=rows[:canary]
    )


def _quickest(calls: Sequence[Callable[[], None]], at_once: int = 40) -> float:
    """Microseconds a call in the quickest run of so many: of other work on the machine nothing is asked."""
    least = math.inf
    for start in range(0, len(calls) - at_once + 1, at_once):
        began = time.perf_counter()
        for call in calls[start : start + at_once]:
            call()
        least = min(least, time.perf_counter() - began)
    return 1e6 * least / at_once


@click.command(context_settings={"show_default": True})
@click.option("--runs", default=2_000, help="Simulated rollouts of a case; costly cases take a part of it.")
@click.option("--seed", default=1, help="The same seed gives the same table, whatever the number of processes.")
@click.option("--processes", default=2, help="Worker processes.")
@click.option("--only", default="", help="Only cases whose name contains this.")
@click.option("--write", is_flag=True, help="Also write the table into benchmarks/README.md; of all cases only.")
def main(runs: int, seed: int, processes: int, only: str, *, write: bool) -> None:
    """Simulate rollouts and hold the sequential test to its targets. Exit code 1 if one is missed.

    Example: python benchmarks/decision.py --runs 8000 --write
    """
    if write and only:
        raise click.UsageError("--write would leave out all cases but those of --only: give one of the two")
    console = Console(stderr=True)
    wanted = [index for index, row in enumerate(rows()) if only in row.name]
    began = time.perf_counter()
    found, missed = [], 0
    with ProcessPoolExecutor(processes) as pool, console.status("simulating") as status:
        futures = [pool.submit(measure, index, runs, seed) for index in wanted]
        for number, future in enumerate(futures, start=1):
            name, done, target, measured, met, seconds = future.result()
            missed += not met
            found.append((name, f"{done:,}", target, measured, "yes" if met else "NO"))
            status.update(f"{number} of {len(wanted)} cases; {name} took {seconds:.0f} s")
            console.print(*found[-1], sep=" | ", highlight=False)
    for name, most, us in costs():
        missed += us > most
        met = "yes" if us <= most else "NO"
        found.append((f"cost of a block, {name}", "", f"<= {most:g} us", f"{us:.3g} us", met))
    table = page.table(("case", "runs", "target", "measured", "met"), found)
    print(table)
    console.print(f"{time.perf_counter() - began:.0f} s, {missed} missed")
    if write:
        page.write("bench-decision", table)
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
