"""The records of R.rollout-events by which a rollout is led: commands of persons, the controller's answers and steps.

Fields as in schemas/rollout_event; times in milliseconds since the epoch.
"""

from dataclasses import dataclass
from typing import Final, Literal

from stream_router.core.policy import Policy
from stream_router.core.rollout.phases import Phase
from stream_router.core.rollout.rollout_event import RolloutEvent
from stream_router.core.routing.proposal import Step

Verb = Literal["start", "pause", "resume", "approve", "promote"]

Cause = Literal["command", "rollback", "split", "step", "job", "limit"]
"""Of a transition: a person's command; a rollback; what is in force; that a step's conditions hold; a scoring job that
cannot load the version; that labels or time are used up without a verdict.
"""

COMMAND_TIME_MS: Final = 30_000
"""Milliseconds after which a command is not carried out any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """seen: offset of the newest transition or rollback that the person had seen, -1 for none. policy: None for the
    route's default.
    """

    id: str
    verb: Verb
    by: str
    reason: str
    at: int
    seen: int
    expires_at: int
    version: str | None = None
    policy: Policy | None = None
    full: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """epoch: the one on which it was decided, with canary's weight in it. canary: its weight as it is to be from here
    on. asks: what the script is asked for, again and again until R.splits shows it or something else. policy: that of
    the rollout from a start on.
    """

    rollout: int
    before: Phase
    after: Phase
    step: int
    canary_before: float
    canary: float
    cause: Cause
    reason: str
    epoch: int
    at: int
    command: str | None = None
    asks: Step | None = None
    policy: Policy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The answer to a command that is not carried out; the reason says what would be right."""

    command: str
    rollout: int
    reason: str
    at: int


LogRecord = RolloutEvent | Command | Transition | Refusal
"""A record of R.rollout-events."""
