"""Draws e-values of healthy and of worse canaries as they grow, by the test that decides: docs/images/e_values.svg."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import click
import numpy as np

from stream_router.core.deciding.blocks import full_size
from stream_router.core.deciding.e_process import EProcess
from stream_router.core.policy import Policy

PLOT: Final = Path(__file__).resolve().parents[1] / "docs" / "images" / "e_values.svg"

SHARE, HEALTHY, WORSE = 0.1, 0.1, 0.15
"""Canary's share; stable's rate of bad outcomes, which is a healthy canary's, too; that of a worse one."""

MOST: Final = 2_000
"""Canary labels up to which is drawn."""

EVERY: Final = 2
"""Blocks from one point of a curve to the next, so that the file stays small."""

WIDTH, HEIGHT = 1_600, 900
LEFT, RIGHT, TOP, BOTTOM = 120, 40, 120, 90
LOWEST, HIGHEST = 0.1, 60.0
"""The least and the largest e-value that the axis shows."""

COLOURS: Final = {HEALTHY: "#2b6cb0", WORSE: "#c05621"}


@dataclass(frozen=True)
class Curve:
    """Canary labels and e-values after blocks of one simulated rollout; `reached`: the last one is the threshold."""

    labels: tuple[int, ...]
    e_values: tuple[float, ...]
    reached: bool


def simulated(canary_error: float, policy: Policy, rng: np.random.Generator) -> Curve:
    """One rollout, judged by its accuracy alone."""
    metric = policy.metric("accuracy")
    test = EProcess(alpha=policy.alpha * metric.weight, psi0=policy.tolerated_odds_ratio, max_labels=policy.max_labels)
    size, seen, blocks = full_size(SHARE), 0, 0
    labels, e_values = [0], [1.0]
    while seen < MOST and not test.unhealthy:
        n_b = int(rng.binomial(size, SHARE))
        test.update(size - n_b, n_b, int(rng.binomial(size - n_b, HEALTHY)), int(rng.binomial(n_b, canary_error)))
        seen, blocks = seen + n_b, blocks + 1
        if blocks % EVERY == 0 or test.unhealthy:
            labels.append(seen)
            e_values.append(test.e_value)
    return Curve(tuple(labels), tuple(e_values), test.unhealthy)


def simulate(runs: int, policy: Policy, seed: int) -> dict[float, list[Curve]]:
    """So many rollouts of each kind, by canary's rate of bad outcomes."""
    rng = np.random.default_rng(seed)
    return {error: [simulated(error, policy, rng) for _ in range(runs)] for error in (HEALTHY, WORSE)}


def told(curves: dict[float, list[Curve]], threshold: float) -> str:
    """What is to be seen, in words with its numbers."""
    reached = {error: [curve for curve in found if curve.reached] for error, found in curves.items()}
    needed = np.median([curve.labels[-1] for curve in reached[WORSE]]) if reached[WORSE] else math.nan
    return (
        f"Of {len(curves[HEALTHY])} canaries as good as stable {len(reached[HEALTHY])} reached {threshold:.4g} within "
        f"{MOST:,} labels, of {len(curves[WORSE])} with accuracy {1 - WORSE:.2f} against {1 - HEALTHY:.2f} "
        f"{len(reached[WORSE])}, half of them within {needed:.0f} labels."
    )


def drawn(curves: dict[float, list[Curve]], threshold: float) -> str:
    """All of it as one SVG document."""
    return "\n".join(_parts(curves, threshold)) + "\n"


def _parts(curves: dict[float, list[Curve]], threshold: float) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="26" fill="#222">'
    )
    yield f"<desc>{escape(told(curves, threshold))}</desc>"
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    yield from _axes()
    for error, found in curves.items():
        yield f'<g fill="none" stroke="{COLOURS[error]}" stroke-width="2" stroke-opacity="0.35">'
        yield from (f'<path d="{_path(curve)}"/>' for curve in found)
        yield "</g>"
    yield _line(LEFT, _y(threshold), WIDTH - RIGHT, _y(threshold), 'stroke="#222" stroke-width="3"')
    for error, found in reversed(curves.items()):  # the few healthy ones in front
        yield f'<g fill="{COLOURS[error]}">'
        ends = [curve.labels[-1] for curve in found if curve.reached]
        yield from (f'<circle cx="{_x(labels)}" cy="{_y(threshold)}" r="7"/>' for labels in ends)
        yield "</g>"
    yield _text(WIDTH - RIGHT, _y(threshold) - 12, f"{threshold:.4g} = 1 / alpha: unhealthy", "end")
    for number, (error, what) in enumerate(((HEALTHY, "as good as stable"), (WORSE, "worse"))):
        y = 40 + 36 * number
        yield _line(LEFT, y - 8, LEFT + 60, y - 8, f'stroke="{COLOURS[error]}" stroke-width="5"')
        reached = sum(curve.reached for curve in curves[error])
        yield _text(
            LEFT + 76,
            y,
            f"{len(curves[error])} canaries with accuracy {1 - error:.2f}, {what}; {reached} found unhealthy",
            "start",
        )
    yield "</svg>"


def _axes() -> Iterator[str]:
    grey = 'stroke="#ddd" stroke-width="2"'
    for e_value in (0.1, 0.3, 1, 3, 10, 30):
        yield _line(LEFT, _y(e_value), WIDTH - RIGHT, _y(e_value), grey)
        yield _text(LEFT - 14, _y(e_value) + 9, f"{e_value:g}", "end")
    for labels in range(0, MOST + 1, MOST // 8):
        yield _line(_x(labels), TOP, _x(labels), HEIGHT - BOTTOM, grey)
        yield _text(_x(labels), HEIGHT - BOTTOM + 36, f"{labels:,}", "middle")
    yield _text((LEFT + WIDTH - RIGHT) // 2, HEIGHT - 16, "labels of canary", "middle")
    middle = (TOP + HEIGHT - BOTTOM) // 2
    yield f'<text transform="translate(36 {middle}) rotate(-90)" text-anchor="middle">e-value (logarithmic)</text>'


def _path(curve: Curve) -> str:
    """In whole pixels; each point by its distance from the one before."""
    places = [(_x(labels), _y(e_value)) for labels, e_value in zip(curve.labels, curve.e_values, strict=True)]
    return f"M{places[0][0]} {places[0][1]}l" + " ".join(_steps(places))


def _steps(places: Sequence[tuple[int, int]]) -> Iterator[str]:
    for (x, y), (next_x, next_y) in pairwise(places):
        yield f"{next_x - x} {next_y - y}"


def _x(labels: int) -> int:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * min(labels, MOST) / MOST)


def _y(e_value: float) -> int:
    part = math.log(max(e_value, LOWEST) / LOWEST) / math.log(HIGHEST / LOWEST)
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part)


def _line(x: int, y: int, to_x: int, to_y: int, style: str) -> str:
    return f'<line x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}" {style}/>'


def _text(x: int, y: int, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


@click.command(context_settings={"show_default": True})
@click.option("--runs", default=100, help="Simulated rollouts of each kind.")
@click.option("--seed", default=1, help="The same seed gives the same plot.")
@click.option("--write", type=click.Path(path_type=Path), default=PLOT, help="The SVG file.")
def main(runs: int, seed: int, write: Path) -> None:
    """Simulate rollouts under the built-in policy and draw their e-values.

    Example: python benchmarks/decision_plot.py
    """
    policy = Policy()
    threshold = 1 / (policy.alpha * policy.metric("accuracy").weight)
    curves = simulate(runs, policy, seed)
    write.parent.mkdir(parents=True, exist_ok=True)
    write.write_text(drawn(curves, threshold))
    click.echo(told(curves, threshold))


if __name__ == "__main__":
    main()
