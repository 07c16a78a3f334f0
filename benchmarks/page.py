"""The tables of benchmarks/README.md, each between two marks that name it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

PAGE: Final = Path(__file__).parent / "README.md"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """As Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *rows))


def quantiles(head: str, found: Mapping[str, Sequence[float]]) -> str:
    """A table of times, a row each; `head` says of what and in which unit."""
    rows = []
    for name, times in found.items():
        p50, p99 = np.quantile(times, [0.5, 0.99])
        rows.append([name, f"{p50:.1f}", f"{p99:.1f}", f"{max(times):.1f}"])
    return table([head, "p50", "p99", "most"], rows)


def goals(found: Iterable[tuple[str, str, bool]]) -> str:
    """A table: each goal, what was measured, and whether that meets it."""
    return table(["goal", "measured", "met"], [[goal, value, "yes" if met else "no"] for goal, value, met in found])


def write(name: str, lines: str, page: Path = PAGE) -> None:
    """In place of what stands between the marks. Raises ValueError where the page does not have both of them once."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, rest = page.read_text().split(begin)
    _, after = rest.split(end)
    page.write_text(f"{before}{begin}\n{lines}\n{end}{after}")
