"""Rates and CPU of processes, from samples of what they have written; ratios of rounds."""

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

import click
import numpy as np
from page import table

Field = Literal["rate", "cpu"]
"""Of a Result."""

FIRST, LAST = 0.2, 0.95
"""Of the records: what lies between is measured, start and end are not."""

_STEPS: Final = 5
"""At least so many."""

_HERTZ: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Sample:
    """Seconds, records that a reader of committed records has before it, CPU seconds of the processes."""

    at: float
    records: int
    cpu: float


@dataclass(frozen=True)
class Result:
    """Records a second, and CPU microseconds a record."""

    rate: float
    cpu: float


def measured(samples: Sequence[Sample], records: int, first: float = FIRST) -> Result:
    """Between the shares `first` and LAST of the records, from step to step: a transaction can bring many at once.

    Raises ClickException where there are too few steps to tell.
    """
    steps = [later for sample, later in pairwise(samples) if later.records > sample.records]
    within = [step for step in steps if first * records <= step.records <= LAST * records]
    if len(within) < _STEPS:
        raise click.ClickException(f"{records:,} records came in {len(steps)} steps: give more")
    begin, end = within[0], within[-1]
    done = end.records - begin.records
    return Result(done / (end.at - begin.at), (end.cpu - begin.cpu) / done * 1e6)


def interleaved(names: Sequence[str], rounds: int, run: Callable[[str], Result]) -> dict[str, list[Result]]:
    """Each once a round, in turning order."""
    results: dict[str, list[Result]] = {name: [] for name in names}
    for number in range(1, rounds + 1):
        for name in names if number % 2 else reversed(names):
            result = run(name)
            results[name].append(result)
            load = os.getloadavg()[0]
            click.echo(
                f"{number}/{rounds} {name}: {result.rate:,.0f}/s, {result.cpu:.2f} us each; load {load:.1f}", err=True
            )
    return results


def compared(results: Mapping[str, Sequence[Result]], reference: str, unit: str) -> str:
    """A table: medians, and ratios of pairs in one round; `unit` is what is counted."""
    rows = []
    for name, found in results.items():
        rate, cpu = (statistics.median(getattr(result, field) for result in found) for field in ("rate", "cpu"))
        rates, cpus = (
            interval(ratios(results, name, reference, "rate")),
            interval(ratios(results, name, reference, "cpu")),
        )
        rows.append([name, f"{rate:,.0f}", f"{cpu:.2f}", rates, cpus])
    return table(
        ["variant", f"{unit}s/s", f"CPU us a {unit}", f"rate against {reference}", f"CPU against {reference}"], rows
    )


def ratios(results: Mapping[str, Sequence[Result]], name: str, reference: str, field: Field) -> list[float]:
    """Of pairs in one round."""
    pairs = zip(results[name], results[reference], strict=True)
    return [getattr(result, field) / getattr(other, field) for result, other in pairs]


def interval(ratios: Sequence[float]) -> str:
    """The median, and its 95 % interval by resampling."""
    drawn = np.median(np.random.default_rng(1).choice(ratios, (10_000, len(ratios))), axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})"


def cpu_seconds(pid: int) -> float:
    """What the process has used, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _HERTZ


def with_children(pid: int) -> list[int]:
    """The process and what it has started, such as the process of a scoring job's model."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [one for child in (task / "children").read_text().split() for one in with_children(int(child))]
    return found


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
