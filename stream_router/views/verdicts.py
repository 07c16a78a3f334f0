"""The verdicts of a rollout, and what a replay of its evidence says to them, for people and for scripts."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from stream_router.core.deciding.numbers import Numbers
from stream_router.core.deciding.odds_ratio import OddsRatio
from stream_router.core.deciding.verdict import Verdict
from stream_router.core.moment import utc
from stream_router.core.rollout.recorded import Comparison
from stream_router.core.rollout.rollout_event import RolloutEvent

VERSION: Final = 1
"""Of the documents: raised when a field changes its meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """odds_ratios: of each recorded verdict as of its record. standing: one verdict a metric as of the end, with its
    odds ratio. None: of a metric that does not ask which lane is worse. read_to: the offset of R.evidence behind it.
    """

    comparison: Comparison
    odds_ratios: tuple[OddsRatio | None, ...]
    standing: tuple[tuple[Verdict, OddsRatio | None], ...]
    read_to: int


def document(route: str, rollout: int, events: Sequence[RolloutEvent], replay: Replay | None) -> dict[str, Any]:
    """For `--output json`. Times in milliseconds since 1970; an odds ratio is [low, high], high null for no bound."""
    told: dict[str, Any] = {
        "version": VERSION,
        "route": route,
        "rollout": rollout,
        "verdicts": [_event(event) for event in events],
    }
    if replay is not None:
        for shown, differs, ratio in zip(told["verdicts"], replay.comparison.differs, replay.odds_ratios, strict=True):
            shown |= {"agrees": differs is None, "differs": differs, "odds_ratio": _pair(ratio)}
        told["replay"] = {
            "agrees": replay.comparison.agrees,
            "read_to": replay.read_to,
            "lacking": [_verdict(verdict) for verdict in replay.comparison.lacking],
            "standing": [_verdict(verdict) | {"odds_ratio": _pair(ratio)} for verdict, ratio in replay.standing],
        }
    return told


def lines(route: str, rollout: int, events: Sequence[RolloutEvent], replay: Replay | None) -> Iterator[str]:
    """For people."""
    number = len(events)
    yield f"rollout {rollout} of route {route}: {number} verdict{'s' if number != 1 else ''}" + (
        "" if events else " so far: nothing is shown to be healthy or unhealthy"
    )
    for place, event in enumerate(events):
        yield ""
        role = f", {event.role}" if event.role else ""
        yield (
            f"{event.metric}: {event.verdict}{role}, at offset {event.evidence_offset} of {route}.evidence, "
            f"written {utc(event.decided_at)}"
        )
        yield f"  {event.reason}"
        yield from (f"  {line}" for line in _numbers(event.numbers))
        yield f"  judged by policy {event.policy_digest or '(not recorded)'}"
        if replay is not None:
            differs, ratio = replay.comparison.differs[place], replay.odds_ratios[place]
            yield from (f"  {line}" for line in _ratio(ratio))
            yield "  replayed: the same, bit for bit" if differs is None else f"  REPLAYED OTHERWISE: {differs}"
    if replay is None:
        return
    for verdict in replay.comparison.lacking:
        yield ""
        yield f"NOT RECORDED: {verdict.metric}: {verdict.status}, at offset {verdict.offset}: {verdict.reason}"
    yield ""
    yield f"as of offset {replay.read_to}:"
    for verdict, ratio in replay.standing:
        yield f"  {verdict.metric}: {verdict.status}: {verdict.reason}"
        yield from (f"    {line}" for line in _ratio(ratio))
    yield ""
    yield (
        "the replay agrees, bit for bit" if replay.comparison.agrees else "THE REPLAY DISAGREES with what was recorded"
    )


def _numbers(numbers: Numbers | None) -> Iterator[str]:
    if numbers is None:
        return
    n = numbers
    yield (
        f"bad: canary {n.canary_bad:,} of {n.canary_labels:,} ({_rate(n.canary_bad, n.canary_labels)}), "
        f"stable {n.stable_bad:,} of {n.stable_labels:,} ({_rate(n.stable_bad, n.stable_labels)}), "
        f"{n.blocks:,} blocks"
    )
    yield (
        f"difference of the good ones {n.difference:+.4f} (95 % {n.difference_low:+.4f} to {n.difference_high:+.4f}); "
        f"e-value {n.e_value:.6g}, unhealthy at {n.threshold:.6g}"
    )


def _ratio(ratio: OddsRatio | None) -> Iterator[str]:
    if ratio is not None:
        low = f"at least {ratio.low:.3g}" if ratio.low else "of any size from 0"
        high = "" if math.isinf(ratio.high) else f", at most {ratio.high:.3g}"
        yield f"canary's odds of a bad outcome are {low}{high} times stable's, at whatever moment one looks"


def _rate(bad: int, outcomes: int) -> str:
    return f"{100 * bad / outcomes:.2f} %" if outcomes else "none"


def _pair(ratio: OddsRatio | None) -> list[float | None] | None:
    return None if ratio is None else [ratio.low, None if math.isinf(ratio.high) else ratio.high]


def _rates(numbers: Numbers | None) -> dict[str, Any]:
    if numbers is None:
        return {"numbers": None, "stable_rate": None, "canary_rate": None}
    n = numbers
    return {
        "numbers": asdict(n),
        "stable_rate": n.stable_bad / n.stable_labels if n.stable_labels else None,
        "canary_rate": n.canary_bad / n.canary_labels if n.canary_labels else None,
    }


def _event(event: RolloutEvent) -> dict[str, Any]:
    return asdict(event) | _rates(event.numbers)


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return asdict(verdict) | _rates(verdict.numbers)
