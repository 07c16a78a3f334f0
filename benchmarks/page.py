"""The tables of benchmarks/README.md, each between two marks that name it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np

PAGE: Final = Path(__file__).parent / "README.md"

Statistic = Literal["p50", "p99", "most"]
STATISTICS: Final[Mapping[Statistic, Callable[[Sequence[float]], float]]] = {
    "p50": lambda times: float(np.quantile(times, 0.5)),
    "p99": lambda times: float(np.quantile(times, 0.99)),
    "most": max,
}


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """As Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *rows))


def quantiles(
    head: str, found: Mapping[str, Sequence[float]], goals: Mapping[str, Mapping[Statistic, float]] | None = None
) -> str:
    """A table of times, a row each; `head` says of what and in which unit. With `goals`, the most that each may be, and
    whether it is.
    """
    heads, rows = [head, *STATISTICS], []
    for name, times in found.items():
        measured = {statistic: of(times) for statistic, of in STATISTICS.items()}
        row = [name, *(f"{value:.1f}" for value in measured.values())]
        if goals is not None:
            own = goals.get(name, {})
            missed = [statistic for statistic, most in own.items() if measured[statistic] > most]
            row += [
                ", ".join(f"{statistic} <= {most:g}" for statistic, most in own.items()),
                f"no: {', '.join(missed)}" if missed else "yes" if own else "",
            ]
        rows.append(row)
    return table(heads if goals is None else [*heads, "goal", "met"], rows)


def goals(found: Iterable[tuple[str, str, bool]]) -> str:
    """A table: each goal, what was measured, and whether that meets it."""
    return table(["goal", "measured", "met"], [[goal, value, "yes" if met else "no"] for goal, value, met in found])


def write(name: str, lines: str, page: Path = PAGE) -> None:
    """In place of what stands between the marks. Raises ValueError where the page does not have both of them once."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, rest = page.read_text().split(begin)
    _, after = rest.split(end)
    page.write_text(f"{before}{begin}\n{lines}\n{end}{after}")
