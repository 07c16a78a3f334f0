"""Leads the rollout of a route: what its log says, what the controller knows, and what follows from both."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from stream_router.core.lane import CANARY
from stream_router.core.policy import Policy
from stream_router.core.rollout.conditions import waits_for
from stream_router.core.rollout.controller import Controller
from stream_router.core.rollout.log_records import LogRecord, Refusal, Transition
from stream_router.core.rollout.machine import Call, Write, decide, law_of
from stream_router.core.rollout.machine_inputs import Inputs, Judged, ScoringJob
from stream_router.core.rollout.rollout_state import RolloutState
from stream_router.core.rollout.situation import Hold
from stream_router.core.rollout.status import Led
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.router_status import RouterStatus, disobeying


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What Redis says now: `applied` is None where it does not answer; `refused`: why the script refused a step."""

    applied: AppliedSplit | None = None
    jobs: tuple[ScoringJob, ...] = ()
    routers: tuple[RouterStatus, ...] = ()
    refused: str | None = None


@dataclass(kw_only=True)
class Leader:
    """The rollout in one term of a controller; `policy` is the route's default."""

    policy: Policy
    state: RolloutState = field(default_factory=RolloutState)
    waits: tuple[str, ...] = ()
    """What the rollout waits for, as of the newest decision."""
    _is_awaited: bool = False
    """Whether what was written last has not been read back yet."""

    def on_split(self, applied: AppliedSplit) -> None:
        """A record of R.splits."""
        self.state = self.state.after_split(applied)

    def on_record(self, offset: int, record: LogRecord) -> None:
        """A record of R.rollout-events; its transitions and refusals are this controller's, or a predecessor's."""
        self.state = self.state.after_record(offset, record)
        if isinstance(record, Transition | Refusal):
            self._is_awaited = False

    def on_written(self) -> None:
        """What was decided is in the log: nothing more is, until it has been read."""
        self._is_awaited = True

    @property
    def led(self) -> Led:
        """For display."""
        return Led(self.state, self.waits)

    @property
    def needs_redis(self) -> bool:
        """Whether what Redis says matters for what comes next."""
        return self.state.is_led or bool(self.state.open)

    def next(self, controller: Controller, holds: tuple[Hold, ...], seen: Seen, now: int) -> Write | Call | None:
        """`now` in milliseconds since the epoch. Both topics have been read to their ends."""
        inputs = self._inputs(controller, holds, seen, now)
        self.waits = waits_for(self.state, law_of(self.state, inputs), now, inputs)
        return None if self._is_awaited else decide(self.state, now, inputs)

    def _inputs(self, controller: Controller, holds: tuple[Hold, ...], seen: Seen, now: int) -> Inputs:
        state, summary = self.state, controller.summary
        is_ours = controller.in_force.rollout == state.rollout
        verdicts = summary.verdicts if is_ours and summary is not None else ()
        return Inputs(
            policy=self.policy,
            judged=tuple(Judged(verdict.metric, verdict.role, verdict.status) for verdict in verdicts),
            holds=tuple(_sentences(controller, holds)) if is_ours else (),
            labels=_mature_labels(controller, state) if is_ours and state.phase == "Progressing" else 0,
            max_labels_reached=any(hold.reason == "max_labels" for hold in holds),
            jobs=seen.jobs,
            routers_obey=not disobeying(seen.routers, seen.applied or controller.in_force, now),
            applied=seen.applied,
            refused=seen.refused,
        )


def _sentences(controller: Controller, holds: tuple[Hold, ...]) -> Iterator[str]:
    if controller.is_held:
        yield "R.evidence no longer holds the beginning of the rollout, so that it is not judged"
    yield from (hold.sentence for hold in holds)


def _mature_labels(controller: Controller, state: RolloutState) -> int:
    """Of canary, in windows that began since its weight came into force and in which no label can come any more.

    REMEMBERED_LABELS of them are known at least, where there are as many.
    """
    fold, since = controller.fold, state.in_force.since
    if len(fold.watermarks) < fold.partitions:
        return 0
    policy = state.policy or controller.policy
    matured = min(fold.watermarks.values()) - policy.label_horizon
    windows = fold.windows.labelled(CANARY, state.version, matured, rollout=state.rollout)
    return sum(one.labelled for one in takewhile(lambda one: one.window >= since, windows))
