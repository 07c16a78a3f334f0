"""The split: which fraction of the requests each lane gets, and the form operators write it in."""

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any, Final

from stream_router.core.lane import LANES, Lane
from stream_router.errors import SplitError

MAX_BYTES: Final = 4096
SUM_TOLERANCE: Final = 1e-9
MIN_SHARE: Final = 1e-6
"""The smallest share above 0; the partitioner honours each that is at least as large."""

FORM: Final = '{"stable": 0.9, "canary": 0.1}'


@dataclass(frozen=True)
class Split:
    """Fractions in [0, 1], each 0 or at least MIN_SHARE, that sum to 1 within 1e-9."""

    stable: float
    canary: float

    def weight(self, lane: Lane) -> float:
        return self.canary if lane == "canary" else self.stable


ALL_STABLE: Final = Split(stable=1.0, canary=0.0)
ALL_STABLE_RAW: Final = b'{"stable":1.0,"canary":0.0}'
"""The document of a rollback, and of a route without a split yet."""


def is_share(weight: float) -> bool:
    """Whether a lane may have this weight."""
    return weight == 0 or MIN_SHARE <= weight <= 1


def digest_of(raw: bytes) -> str:
    """First 12 hex digits of the SHA-256 of the raw document."""
    return hashlib.sha256(raw).hexdigest()[:12]


def parse_split(raw: bytes) -> Split:
    """Read a split document as an operator wrote it.

    JSON numbers, each 0 or from MIN_SHARE to 1, summing to 1 within 1e-9, naming `stable` and otherwise only known
    lanes, each once. Raises SplitError with a message that shows the form that would have been right.
    """
    shown = _shown(raw)
    if len(raw) > MAX_BYTES:
        raise SplitError(f"the split has {len(raw)} bytes, more than {MAX_BYTES}: write it as {FORM}")
    try:
        document = json.loads(raw.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except SplitError as error:
        raise SplitError(f"{shown}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise SplitError(f"{shown} is not JSON ({error}): write it as {FORM}") from None
    if not isinstance(document, dict):
        raise SplitError(f"{shown} is not a JSON object of lanes: write it as {FORM}")
    for lane in document:
        if lane not in LANES:
            raise SplitError(f"{shown} names the unknown lane {lane!r}: the lanes are stable and canary, as in {FORM}")
    if "stable" not in document:
        raise SplitError(f"{shown} does not name stable: name it even at 0, as in {_right_form(document)}")
    for lane, weight in document.items():
        _check_weight(shown, lane, weight, document)
    total = math.fsum(document.values())
    if abs(total - 1.0) > SUM_TOLERANCE:
        raise SplitError(f"{shown} sums to {total:.10g}, not 1: write it as {_right_form(document)}")
    return Split(stable=float(document["stable"]), canary=float(document.get("canary", 0.0)))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        twice = next(lane for i, (lane, _) in enumerate(pairs) if lane in [name for name, _ in pairs[:i]])
        raise SplitError(f"{twice!r} stands in it twice: name each lane once, as in {FORM}")
    return document


def _no_constant(constant: str) -> float:
    raise SplitError(f"{constant} is not a fraction: write numbers from 0 to 1, as in {FORM}")


def _check_weight(shown: str, lane: str, weight: Any, document: dict[str, Any]) -> None:
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise SplitError(
            f"{shown}: {lane} is {json.dumps(weight)}, not a JSON number: write it as {_right_form(document)}"
        )
    if not 0 <= weight <= 1:
        raise SplitError(
            f"{shown}: {lane} is {json.dumps(weight)[:24]}, not in 0 to 1: write it as {_right_form(document)}"
        )
    if not is_share(weight):
        raise SplitError(
            f"{shown}: {lane} is {json.dumps(weight)[:24]}, and the smallest share above 0 is {MIN_SHARE:g}: write 0, "
            f"or as in {_right_form(document)}"
        )


def _right_form(document: dict[str, Any]) -> str:
    """The same intention as fractions where it can be guessed (percent, ratios, one missing lane), else the example."""
    weights: dict[str, float] = {}
    for lane, weight in document.items():
        number = _as_number(weight)
        if number is None or not math.isfinite(number) or number < 0:
            return FORM
        weights[lane] = number
    canary = weights.get("canary")
    if canary is not None and 0 <= canary <= 1 and all(weight <= 1 for weight in weights.values()):
        return _document(canary)
    total = sum(weights.values())
    if canary is not None and "stable" in weights and 0 < total < math.inf:
        return _document(canary / total)
    return FORM


def _as_number(weight: Any) -> float | None:
    if isinstance(weight, str):
        text = weight.strip()
        try:
            return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            return None
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        return None
    try:
        return float(weight)
    except OverflowError:
        return None


def _document(canary: float) -> str:
    canary = round(canary, 9)
    if 0 < canary < 1:
        canary = min(max(canary, MIN_SHARE), 1 - MIN_SHARE)
    return f'{{"stable": {round(1 - canary, 9):.9g}, "canary": {canary:.9g}}}'


def _shown(raw: bytes) -> str:
    text = raw[:120].decode(errors="backslashreplace")
    return f"split {text}{'…' if len(raw) > len(text.encode()) else ''}" if raw else "the empty split"
