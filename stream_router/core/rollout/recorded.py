"""The verdicts of R.rollout-events, and whether a replay of R.evidence gives the same."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stream_router.core.deciding.backtest import Fell
from stream_router.core.deciding.verdict import Verdict
from stream_router.core.policy import CLOCK_SKEW_MS
from stream_router.core.rollout.rollout_event import ROLLBACK, VERDICT, RolloutEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """differs: for each recorded verdict what the replay says otherwise, in words; None where both are the same, bit
    for bit. lacking: what the replay finds and the log does not have.
    """

    differs: tuple[str | None, ...]
    lacking: tuple[Verdict, ...]

    @property
    def agrees(self) -> bool:
        return not any(self.differs) and not self.lacking


def recorded_verdicts(events: Iterable[RolloutEvent], rollout: int) -> list[RolloutEvent]:
    """In the log's order; with rollbacks that tell of a verdict of which there is no record."""
    found: dict[tuple[str | None, str], RolloutEvent] = {}
    for event in events:
        is_verdict = event.kind == VERDICT or (event.kind == ROLLBACK and event.evidence_offset is not None)
        if event.rollout == rollout and is_verdict:
            found.setdefault((event.metric, event.verdict), event)
    return list(found.values())


def ended_at(events: Iterable[RolloutEvent], rollout: int) -> int | None:
    """When the rollout was rolled back by anything but a verdict, ms since 1970: from then on nothing is judged."""
    rollbacks = (one for one in events if one.kind == ROLLBACK and one.rollout == rollout)
    return min((one.decided_at for one in rollbacks if one.evidence_offset is None), default=None)


def compared(recorded: Sequence[RolloutEvent], found: Sequence[Fell], over_at: int | None) -> Comparison:
    """What falls after a rollback of the rollout, at `over_at`, is not judged any more, and not lacking."""
    by_name = {(one.verdict.metric, one.verdict.status.value): one.verdict for one in found}
    told = {(event.metric, event.verdict) for event in recorded}
    return Comparison(
        differs=tuple(_difference(event, by_name.get((event.metric or "", event.verdict))) for event in recorded),
        lacking=tuple(
            one.verdict
            for one in found
            if (one.verdict.metric, one.verdict.status.value) not in told
            and (over_at is None or one.at < over_at - CLOCK_SKEW_MS)
        ),
    )


def _difference(event: RolloutEvent, verdict: Verdict | None) -> str | None:
    if verdict is None:
        return "the replay does not find it"
    wrong = []
    if verdict.offset != event.evidence_offset:
        wrong.append(f"it falls at offset {verdict.offset}, recorded is {event.evidence_offset}")
    said, recorded = verdict.numbers, event.numbers
    if (said and said.e_value) != (recorded and recorded.e_value):
        wrong.append(f"its e-value is {said and said.e_value!r}, recorded is {recorded and recorded.e_value!r}")
    elif said != recorded:
        wrong.append(f"its numbers are {said}, recorded are {recorded}")
    return "; ".join(wrong) or None
