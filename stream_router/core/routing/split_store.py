"""The interface to the keys of a route: what Redis and the fake for tests have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from stream_router.core.lane import Lane
from stream_router.core.routing.applied_split import AppliedSplit, Models
from stream_router.core.routing.control_view import ControlView
from stream_router.core.routing.proposal import Proposal, Step

RefusalCode = Literal["invalid", "latched", "overtaken"]
LatchState = Literal["holds", "released", "over"]
"""`over`: a later rollout is in force although nobody released the latch."""


@dataclass(frozen=True)
class ReadAgain:
    """`:split` is not what the caller validated: look again, then call again."""


@dataclass(frozen=True)
class StepRefused:
    """The step was not taken; the split in force stays."""

    why: str


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """`:rejected`: the last document that did not come into force; `time` in milliseconds since the epoch."""

    type: str
    raw: bytes
    code: RefusalCode
    why: str
    time: int


OnRejected = Callable[[Refusal | None], object]


@dataclass(frozen=True, kw_only=True)
class Latch:
    """`:latch`: the rollout that was rolled back last; `time` in milliseconds since the epoch.

    `command` is what a person types to end a latch that holds; empty for another.
    """

    rollout: int
    reason: str
    time: int
    state: LatchState = "holds"
    command: str = ""


class SplitStore(Protocol):
    """The keys of one route. Every method raises UnreachableError when Redis does not do as asked."""

    def look(self) -> Proposal:
        """Read and validate `:split`."""

    def call(
        self,
        view: ControlView,
        proposal: Proposal,
        *,
        now: int,
        who: str,
        step: Step | None = None,
        on_rejected: OnRejected | None = None,
    ) -> AppliedSplit | ReadAgain | StepRefused:
        """One call of the script; `now` in milliseconds since the epoch.

        The caller has read R.splits and R.rollout-events to their ends. Returns the split in force, INITIAL_SPLIT
        before the first; `on_rejected` is then told what `:rejected` holds, unless that cannot be read.
        """

    def register_model(self, lane: Lane, version: str) -> None:
        """Write the lane's model version where none is. Raises ModelError if it has another."""

    def propose(self, raw: bytes) -> None:
        """A plain SET of `:split`, as an operator does it."""

    def release(self, rollout: int) -> None:
        """Ask for the end of this rollout's latch, a plain SET of `:release`: the next call of the script ends it."""

    def applied(self) -> AppliedSplit | None:
        """The split in force, as the script left it."""

    def rejected(self) -> Refusal | None:
        """The last refused document."""

    def latch(self) -> Latch | None:
        """The last rollback."""

    def models(self) -> Models:
        """The model version of each lane."""

    def history(self, count: int) -> list[dict[str, str]]:
        """The newest entries of `:history`, newest first; for display."""

    def close(self) -> None:
        """Close the connections."""


def call_until_read(
    store: SplitStore, view: ControlView, *, now: int, who: str, on_rejected: OnRejected | None = None
) -> AppliedSplit | ReadAgain | StepRefused:
    """Read and validate `:split` and call the script; once more where it has changed in between."""

    def call() -> AppliedSplit | ReadAgain | StepRefused:
        return store.call(view, store.look(), now=now, who=who, on_rejected=on_rejected)

    reply = call()
    return call() if isinstance(reply, ReadAgain) else reply


def version_conflict(route: str, lane: Lane, models_key: str, registered: str, given: str) -> str:
    """What to do when a lane has another model version than a job brings."""
    return (
        f"lane {lane} of route {route} has model version {registered!r}, not {given!r}: start with --model-version "
        f"{registered}, or change the lane's version first with: HSET {models_key} {lane} {given}"
    )
