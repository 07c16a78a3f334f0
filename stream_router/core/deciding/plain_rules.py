"""What rolls a canary back without statistics: absolute limits, and requests that it does not answer."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from stream_router.core.deciding.limits import Limits
from stream_router.core.deciding.silence import SilentLanes
from stream_router.core.deciding.verdict import named
from stream_router.core.deciding.windows import Windows
from stream_router.core.evidence import Evidence, RolloutStarted


class Broken(NamedTuple):
    """A rule, as a verdict names it, and what happened, in one sentence with its numbers."""

    rule: str
    sentence: str


class PlainRules:
    """Of one started rollout; fed every record of R.evidence from its start record on."""

    def __init__(self, started: RolloutStarted) -> None:
        self._started = started
        self._limits = Limits(started)
        self._silence = SilentLanes(started.policy, started.rollout, named("canary", started.versions))

    def on_record(self, evidence: Evidence, windows: Windows, complete_until: int | None) -> Broken | None:
        """The rule that the record shows broken, if any. `windows` know the record already.

        Limits are asked at watermarks, once the evidence of every partition is complete until some time.
        """
        self._silence.on_record(evidence)
        if evidence.watermark is not None and complete_until is not None:
            broken = self._limits.broken(windows, complete_until)
            if broken is not None:
                return Broken(f"limit:{broken.limit.metric}", broken.sentence)
        if self._silence.unanswered is not None:
            return Broken("silence", self._silence.unanswered)
        return None

    def limits(self, windows: Windows, complete_until: int | None) -> tuple[str, ...]:
        """What each limit sees, a sentence each; nothing until the evidence of every partition is complete."""
        return () if complete_until is None else self._limits.told(windows, complete_until)

    @property
    def holds(self) -> tuple[str, ...]:
        """Why the rollout may not go forward, in words."""
        return self._silence.holds

    @property
    def silent(self) -> frozenset[str]:
        """The lanes that do not answer, as of the newest record."""
        return self._silence.silent

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return self._silence.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises LookupError, TypeError or ValueError where the state is none."""
        self._silence = SilentLanes.restored(self._started.policy, self._started.rollout, state)
