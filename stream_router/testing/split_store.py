"""The fake of the Redis contract; it passes the same contract suite as the real one."""

from dataclasses import replace

from stream_router.core.lane import Lane
from stream_router.core.rollout.status import RolloutStatus
from stream_router.core.route import Route
from stream_router.core.routing.applied_split import AppliedSplit, Models
from stream_router.core.routing.control_view import ControlView
from stream_router.core.routing.proposal import Proposal, Step
from stream_router.core.routing.split_store import (
    Latch,
    OnRejected,
    ReadAgain,
    Refusal,
    StepRefused,
    version_conflict,
)
from stream_router.errors import ModelError, UnreachableError
from stream_router.testing.rules import Call, Keys, proposal_of


class FakeSplitStore:
    """The keys of one route in memory, with the rules of apply_split.lua in Python.

    `keys` may be written as operators write them; `away` makes every call fail as if Redis could not be reached.
    """

    def __init__(self, route: Route) -> None:
        self.route = route
        self.keys = Keys()
        self.away = False

    def look(self) -> Proposal:
        return proposal_of(self._reached().split)

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
        keys = self._reached()
        reply = Call(keys, self.route.key("release"), view, now, who).run(proposal, step)
        if on_rejected is not None and isinstance(reply, AppliedSplit):
            on_rejected(keys.rejected)
        return reply

    def register_model(self, lane: Lane, version: str) -> None:
        if not version:
            raise ModelError(f"the model version of lane {lane} is empty: name the version, such as 'v1'")
        keys = self._reached()
        registered: str | None = getattr(keys.models, lane)
        if registered is None:
            models = keys.models
            keys.models = replace(models, stable=version) if lane == "stable" else replace(models, canary=version)
        elif registered != version:
            raise ModelError(
                version_conflict(self.route.name, lane, self.route.key("models"), registered, version),
            )

    def write_status(self, status: RolloutStatus) -> None:
        self._reached().rollout = status

    def propose(self, raw: bytes) -> None:
        self._reached().split = raw

    def release(self, rollout: int) -> None:
        self._reached().release = str(rollout).encode()

    def applied(self) -> AppliedSplit | None:
        return self._reached().applied

    def rejected(self) -> Refusal | None:
        return self._reached().rejected

    def latch(self) -> Latch | None:
        return self._reached().latch

    def models(self) -> Models:
        return self._reached().models

    def status(self) -> RolloutStatus | None:
        return self._reached().rollout

    def history(self, count: int) -> list[dict[str, str]]:
        return self._reached().history[: -count - 1 : -1]

    def close(self) -> None:
        pass

    def _reached(self) -> Keys:
        if self.away:
            raise UnreachableError("the fake Redis is away")
        return self.keys
