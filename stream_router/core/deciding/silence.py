"""Lanes that do not answer: a plain rule, since a job that is down makes as many dependent outcomes as it missed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from stream_router.core.evidence import Evidence, Silence
from stream_router.core.lane import CANARY, LANES, STABLE
from stream_router.core.moment import utc
from stream_router.core.policy import Policy

BREAK_MS: Final = 30_000
"""Milliseconds without a record of a silence after which it counts as broken: nobody looked, so it may have answered.
"""


@dataclass(slots=True, kw_only=True)
class _Silent:
    """since: from when on the present silence counts; heard_at: its newest record. Milliseconds since the epoch."""

    since: int
    heard_at: int
    oldest_routed_at: int
    unanswered: int


class SilentLanes:
    """Of one rollout, judged by its own policy. Folds every record of R.evidence, in order.

    A lane is silent from a record that says so until one with unanswered = 0, or until none has come for BREAK_MS. A
    silent lane holds the rollout; where canary has been silent for `policy.silence`, it is to be rolled back, for good.
    While stable is silent, too, what both need is away, and canary's silence counts from when stable answers again.
    Time is the broker's, where R.evidence has that, else that of who wrote the record; it never goes back.
    `canary` is what sentences call canary, such as "canary 7".
    """

    def __init__(self, policy: Policy, rollout: int, canary: str = "canary") -> None:
        self._policy, self._rollout, self._canary = policy, rollout, canary
        self._lanes: dict[str, _Silent] = {}
        self._now = 0
        self.unanswered: str | None = None
        """Why canary is to be rolled back, in one sentence with its numbers; None where it is not."""

    def on_record(self, evidence: Evidence) -> None:
        told = evidence.written_at if evidence.appended_at is None else evidence.appended_at
        self._now = max(self._now, told)
        stable_was_silent = STABLE in self._lanes
        for lane in [lane for lane, silent in self._lanes.items() if self._now - silent.heard_at > BREAK_MS]:
            del self._lanes[lane]
        heard = [one for one in evidence.silences if one.rollout == self._rollout and one.lane in LANES]
        for silence in heard:
            self._hear(silence)
        canary = self._lanes.get(CANARY)
        if canary is None:
            return
        if stable_was_silent or STABLE in self._lanes:
            canary.since = self._now
        elif canary.heard_at == self._now and self._now - canary.since >= self._policy.silence:
            self.unanswered = self.unanswered or (
                f"{self._sentence(CANARY)}, for {_seconds(self._policy.silence)} s after that was found"
            )

    def _hear(self, silence: Silence) -> None:
        if silence.unanswered <= 0:
            self._lanes.pop(silence.lane, None)
            return
        known = self._lanes.get(silence.lane)
        self._lanes[silence.lane] = _Silent(
            since=self._now if known is None else known.since,
            heard_at=self._now,
            oldest_routed_at=silence.oldest_routed_at,
            unanswered=silence.unanswered,
        )

    @property
    def silent(self) -> frozenset[str]:
        """The lanes that are silent as of the newest record."""
        return frozenset(self._lanes)

    @property
    def holds(self) -> tuple[str, ...]:
        """Why the rollout waits: a sentence a silent lane."""
        then = {
            CANARY: "it is not rolled back while stable does not answer either: see to what both need"
            if STABLE in self._lanes
            else f"it is rolled back if it stays silent for {_seconds(self._policy.silence)} s",
            STABLE: "nothing is rolled back for that: see to its scoring job",
        }
        return tuple(f"{self._sentence(lane)}; {then[lane]}" for lane in LANES if lane in self._lanes)

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return {
            "canary": self._canary,
            "lanes": {lane: asdict(silent) for lane, silent in self._lanes.items()},
            "now": self._now,
            "unanswered": self.unanswered,
        }

    @classmethod
    def restored(cls, policy: Policy, rollout: int, state: Mapping[str, Any]) -> "SilentLanes":
        """Raises LookupError or TypeError where the state is none."""
        lanes = cls(policy, rollout, state["canary"])
        lanes._lanes = {lane: _Silent(**fields) for lane, fields in state["lanes"].items()}
        lanes._now, lanes.unanswered = state["now"], state["unanswered"]
        return lanes

    def _sentence(self, lane: str) -> str:
        silent = self._lanes[lane]
        wait = f"{silent.unanswered:,} request{' waits' if silent.unanswered == 1 else 's wait'}"
        return (
            f"{self._canary if lane == CANARY else lane} does not answer: {wait} for more than "
            f"{_seconds(self._policy.prediction_deadline)} s, the oldest since {utc(silent.oldest_routed_at)}"
        )


def _seconds(ms: int) -> str:
    return f"{ms / 1000:g}"
