"""What a caller of the script knows: R.splits and R.rollout-events, read to their ends."""

from dataclasses import dataclass

from stream_router.core.routing.law import Law


@dataclass
class Knowledge:
    """A fold over both topics.

    `known` is the newest law that the script registered; `newest` the law of the highest epoch, anyone's (of equal
    epochs the later record); `latch` the highest rollout that was rolled back, with the reason of that event.
    """

    known: Law | None = None
    newest: Law | None = None
    latch: int | None = None
    latch_reason: str = ""

    @property
    def floor(self) -> int:
        """The highest epoch in R.splits, anyone's; 0 without one."""
        return self.newest.epoch if self.newest else 0

    def on_split(self, law: Law) -> None:
        """A record of R.splits, or a law that this caller adopted and has yet to write there."""
        if law.registered and (self.known is None or law.epoch > self.known.epoch):
            self.known = law
        if self.newest is None or law.epoch >= self.newest.epoch:
            self.newest = law

    def on_rollback(self, rollout: int, reason: str = "") -> None:
        """A rollback in R.rollout-events."""
        if self.latch is None or rollout > self.latch:
            self.latch, self.latch_reason = rollout, reason

    def forbids(self, law: Law) -> bool:
        """Whether the law gives canary a share in a rollout that was rolled back."""
        return law.canary > 0 and self.latch is not None and law.rollout <= self.latch
