"""Which law a router routes by, with Redis and without."""

from dataclasses import dataclass, field
from typing import Final

from stream_router.core.routing.knowledge import Knowledge
from stream_router.core.routing.law import NO_LAW, Law
from stream_router.core.routing.split import ALL_STABLE_RAW

PATIENCE: Final = 1_000
"""Milliseconds that a router gives the script to carry out a rollback before it declares one by itself."""


@dataclass
class RoutingState:
    """The law in force for one router; all times in milliseconds since the epoch.

    The methods that change it belong to one thread. `law`, `must_write` and `on_written` may be used by another, the
    one that routes.
    """

    who: str
    law: Law = NO_LAW
    knowledge: Knowledge = field(default_factory=Knowledge)
    last_success: int | None = None
    _obliged_since: int | None = None
    _written: Law = NO_LAW

    def on_split(self, law: Law) -> None:
        """A record of R.splits. It is knowledge only: a router routes by what the script answers."""
        self.knowledge.on_split(law)

    def on_rollback(self, rollout: int, reason: str, now: int) -> None:
        """A rollback in R.rollout-events. From here on the script has PATIENCE to carry it out."""
        self.knowledge.on_rollback(rollout, reason)
        self._note_obligation(now)

    def on_law(self, law: Law, now: int) -> bool:
        """The law that the script returned. True if it is another than before.

        An epoch that falls is not adopted, and never a share for canary in a rollout known to be rolled back.
        """
        self.last_success = now
        if law.epoch < self.law.epoch or self.knowledge.forbids(law):
            return False
        return self._adopt(law, now)

    def on_time(self, now: int) -> bool:
        """Call after each try of the script, failed or not. True if the router has just declared its own rollback."""
        if self._obliged_since is None:
            return False
        self._obliged_since = min(self._obliged_since, now)  # the clock may have been set back
        return now - self._obliged_since >= PATIENCE and self._declare(now)

    def start_alone(self, now: int) -> bool:
        """Start while the script cannot be reached: the newest law in R.splits, then what the intents make of it.

        Does nothing once a law is in force.
        """
        newest = self.knowledge.newest
        if self.law != NO_LAW or newest is None:
            return False
        self._adopt(newest, now)
        if self.knowledge.forbids(newest):
            self._declare(now)
        return True

    def must_write(self, law: Law) -> bool:
        """Whether the next transaction under this law writes it to R.splits."""
        return law.epoch > 0 and not _same(law, self._written)

    def on_written(self, law: Law) -> None:
        """The transaction that wrote this law to R.splits has committed."""
        self._written = law

    def _declare(self, now: int) -> bool:
        reason = self.knowledge.latch_reason
        return self._adopt(
            Law(
                raw=ALL_STABLE_RAW,
                canary=0.0,
                epoch=max(self.law.epoch, self.knowledge.floor) + 1,
                rollout=self.law.rollout,
                bound=self.law.bound,
                models=self.law.models,
                registered=False,
                time=now,
                who=self.who,
                why=f"rollback of rollout {self.knowledge.latch} without Redis" + (f": {reason}" if reason else ""),
            ),
            now,
        )

    def _adopt(self, law: Law, now: int) -> bool:
        if _same(law, self.law):
            return False
        self.knowledge.on_split(law)
        self.law = law
        self._note_obligation(now)
        return True

    def _note_obligation(self, now: int) -> None:
        if not self.knowledge.forbids(self.law):
            self._obliged_since = None
        elif self._obliged_since is None:
            self._obliged_since = now


def _same(one: Law, other: Law) -> bool:
    return (one.epoch, one.raw, one.registered) == (other.epoch, other.raw, other.registered)
