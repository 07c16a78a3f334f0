"""Which split a router routes by, with Redis and without."""

from dataclasses import dataclass, field
from typing import Final

from stream_router.core.routing.applied_split import INITIAL_SPLIT, AppliedSplit
from stream_router.core.routing.control_view import ControlView
from stream_router.core.routing.split import ALL_STABLE_RAW

SCRIPT_DEADLINE_MS: Final = 1_000
"""Milliseconds that a router gives the script to carry out a rollback before it declares one by itself."""


@dataclass
class RoutingState:
    """The split in force for one router; all times in milliseconds since the epoch.

    Threads share it under a lock of theirs; `must_write` and `on_written` are for the routing thread alone, without it.
    """

    who: str
    in_force: AppliedSplit = INITIAL_SPLIT
    view: ControlView = field(default_factory=ControlView)
    last_success: int | None = None
    _waiting_since: int | None = None
    _written: AppliedSplit = INITIAL_SPLIT

    def on_split(self, applied: AppliedSplit) -> None:
        """A record of R.splits. It only enters the view: a router routes by what the script answers."""
        self.view.on_split(applied)

    def on_rollback(self, rollout: int, reason: str, now: int) -> None:
        """A rollback in R.rollout-events. From here on the script has SCRIPT_DEADLINE_MS to carry it out."""
        self.view.on_rollback(rollout, reason)
        self._note_waiting(now)

    def on_applied(self, applied: AppliedSplit, now: int) -> bool:
        """The split that the script returned. True if it is another than before.

        An epoch that falls is not adopted, and never a share for canary in a rollout known to be rolled back.
        """
        self.last_success = now
        if applied.epoch < self.in_force.epoch or self.view.forbids(applied):
            return False
        return self._adopt(applied, now)

    def on_time(self, now: int) -> bool:
        """Call after each try of the script, failed or not. True if the router has just declared its own rollback."""
        if self._waiting_since is None:
            return False
        self._waiting_since = min(self._waiting_since, now)  # the clock may have been set back
        return now - self._waiting_since >= SCRIPT_DEADLINE_MS and self._declare(now)

    def start_alone(self, now: int) -> bool:
        """Start while the script cannot be reached: the latest split in R.splits, then what the rollbacks make of it.

        Does nothing once a split is in force.
        """
        latest = self.view.latest
        if self.in_force != INITIAL_SPLIT or latest is None:
            return False
        self._adopt(latest, now)
        if self.view.forbids(latest):
            self._declare(now)
        return True

    def must_write(self, applied: AppliedSplit) -> bool:
        """Whether the next transaction under this split writes it to R.splits."""
        return applied.epoch > 0 and not _same(applied, self._written)

    def on_written(self, applied: AppliedSplit) -> None:
        """The transaction that wrote this split to R.splits has committed."""
        self._written = applied

    def _declare(self, now: int) -> bool:
        reason = self.view.latch_reason
        return self._adopt(
            AppliedSplit(
                raw=ALL_STABLE_RAW,
                canary=0.0,
                epoch=max(self.in_force.epoch, self.view.highest_epoch) + 1,
                rollout=self.in_force.rollout,
                bound=self.in_force.bound,
                models=self.in_force.models,
                registered=False,
                time=now,
                who=self.who,
                why=f"rollback of rollout {self.view.latch} without Redis" + (f": {reason}" if reason else ""),
            ),
            now,
        )

    def _adopt(self, applied: AppliedSplit, now: int) -> bool:
        if _same(applied, self.in_force):
            return False
        self.view.on_split(applied)
        self.in_force = applied
        self._note_waiting(now)
        return True

    def _note_waiting(self, now: int) -> None:
        if not self.view.forbids(self.in_force):
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = now


def _same(one: AppliedSplit, other: AppliedSplit) -> bool:
    return (one.epoch, one.raw, one.registered) == (other.epoch, other.raw, other.registered)
