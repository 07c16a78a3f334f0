"""Parts of sentences that several metrics share."""

from stream_router.core.deciding.numbers import Numbers


def is_unknown(numbers: Numbers) -> bool:
    """Whether a lane has had no outcome yet, so that nothing is compared."""
    return not numbers.canary_labels or not numbers.stable_labels


def unknown(numbers: Numbers, stable: str, canary: str, units: str) -> str:
    """While nothing is compared; `units` is the plural of what an outcome stands for."""
    return (
        f"nothing is known yet of {canary} against {stable}: {numbers.canary_labels:,} and "
        f"{numbers.stable_labels:,} {units}, {rule(numbers)}"
    )


def rule(numbers: Numbers) -> str:
    """What the e-value has come to, and what it has to reach."""
    if numbers.e_value >= numbers.threshold:
        reached = f"e-value reached {numbers.threshold:.4g} = 1/(weight · alpha)"
    else:
        reached = f"e-value {numbers.e_value:.3g} of {numbers.threshold:.4g} = 1/(weight · alpha)"
    return f"{reached} after {numbers.blocks} block{'s' if numbers.blocks != 1 else ''}" if numbers.blocks else reached


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"


def points(numbers: Numbers) -> str:
    """By how much more often canary's outcomes are bad, in percentage points, with its 95 % interval."""
    low, high = -100 * numbers.difference_high, -100 * numbers.difference_low
    return f"difference {-100 * numbers.difference:+.1f} points (95 % {low:+.1f} to {high:+.1f})"


def milliseconds(seconds: float) -> str:
    ms = 1_000 * seconds
    return f"{ms:,.0f} ms" if ms >= 10 else f"{ms:.2g} ms"  # noqa: PLR2004 - two digits
