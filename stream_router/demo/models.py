"""The demo's two models: will a departed flight arrive late?

Both are one logistic regression, trained on the months before those that are replayed. The bad one has a bug of real
life: it is fed the departure delay in hours where its training had minutes, so that it hardly ever says late.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_router.demo.extra import require_extra
from stream_router.errors import ModelError

GOOD: Final = "logreg-minutes"
BAD: Final = "logreg-hours"
_DELAY_UNIT: Final[Mapping[str, float]] = {GOOD: 1.0, BAD: 60.0}
"""Minutes in the unit in which each version is fed the departure delay."""

_NUMBERS: Final = ("departure_delay", "distance", "scheduled_departure")
_CATEGORIES: Final = ("carrier", "origin")
_FORMAT: Final = 1
"""Grows with every change of the training, so that an older cached file is not used."""


@dataclass(frozen=True)
class Coefficients:
    """Of a logistic regression on numbers as they come and on categories, one coefficient a level."""

    intercept: float
    numbers: Mapping[str, float]
    categories: Mapping[str, Mapping[str, float]]


class FlightModel:
    """`predict(rows)`: for each record of schemas/flight_request whether the flight will be late."""

    def __init__(self, coefficients: Coefficients, delay_unit: float) -> None:
        self._coefficients = coefficients
        self._delay_unit = delay_unit
        content = json.dumps([asdict(coefficients), delay_unit], sort_keys=True)
        self.digest: Final = hashlib.sha256(content.encode()).hexdigest()[:12]

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[bool]:
        """A category that the training never saw counts nothing. Raises KeyError for a row without a field."""
        late: list[bool] = (self.log_odds(rows) > 0).tolist()
        return late

    def log_odds(self, rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """Shape (rows,): log-odds of being late."""
        weights = self._coefficients
        values = np.array([[row[name] for name in _NUMBERS] for row in rows], dtype=float).reshape(-1, len(_NUMBERS))
        values[:, _NUMBERS.index("departure_delay")] /= self._delay_unit
        odds: NDArray[np.float64] = weights.intercept + (values * [weights.numbers[name] for name in _NUMBERS]).sum(1)
        for name in _CATEGORIES:
            levels = weights.categories[name]
            odds += np.array([levels.get(row[name], 0.0) for row in rows], dtype=float)
        return odds


def load(version: str) -> FlightModel:
    """The loader that scoring jobs call. Trains once a machine; raises ModelError for an unknown version."""
    if version not in _DELAY_UNIT:
        raise ModelError(f"the demo has no model version {version!r}: it has {' and '.join(_DELAY_UNIT)}")
    return FlightModel(coefficients(), _DELAY_UNIT[version])


def coefficients(folder: Path | None = None) -> Coefficients:
    """From the cache in `folder`, by default the user's; trained and written there where they are missing."""
    file = (folder or _cache()) / f"flights-logreg-{_FORMAT}.json"
    try:
        return Coefficients(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):  # missing, or not ours: it is only a cache
        trained = train()
    with suppress(OSError):  # a home that cannot be written costs time, no more
        _write_whole(file, json.dumps(asdict(trained), indent=1, sort_keys=True))
    return trained


def train() -> Coefficients:
    """Fit on the flights of the months before the replayed ones; takes about two seconds, most of them imports.

    Raises SettingError where the extra is not installed.
    """
    require_extra()
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - only the first start on a machine trains

    from stream_router.demo.flights import REPLAYED, load_flights  # noqa: PLC0415 - likewise

    flights = load_flights(range(1, REPLAYED.start))
    flights = flights[flights["lands"].notna()]
    numbers = flights[list(_NUMBERS)].to_numpy(float)
    mean, spread = numbers.mean(0), numbers.std(0)
    levels = [(name, level) for name in _CATEGORIES for level in sorted(flights[name].unique())]
    indicators = [(flights[name] == level).to_numpy(float) for name, level in levels]
    fitted = LogisticRegression(max_iter=1000).fit(
        np.column_stack([(numbers - mean) / spread, *indicators]), flights["late"]
    )
    weights = fitted.coef_[0]
    slopes = weights[: len(_NUMBERS)] / spread
    return Coefficients(
        intercept=float(fitted.intercept_[0] - slopes @ mean),
        numbers=dict(zip(_NUMBERS, slopes.tolist(), strict=True)),
        categories={
            name: {
                level: float(weight)
                for (of, level), weight in zip(levels, weights[len(_NUMBERS) :], strict=True)
                if of == name
            }
            for name in _CATEGORIES
        },
    )


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stream-router"


def _write_whole(file: Path, text: str) -> None:
    """Two scoring jobs may train at once: each reads nothing or all of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as part:
        part.write(text)
    Path(part.name).replace(file)
