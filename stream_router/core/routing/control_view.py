"""What a caller of the script knows: R.splits and R.rollout-events, read to their ends."""

from dataclasses import dataclass

from stream_router.core.routing.applied_split import INITIAL_SPLIT, AppliedSplit


@dataclass
class ControlView:
    """A fold over both topics.

    `registered` is the newest split that the script put in force; `latest` the split of the highest epoch, anyone's (of
    equal epochs the later record); `latch` the highest rollout that was rolled back, with the reason of that event.
    """

    registered: AppliedSplit | None = None
    latest: AppliedSplit | None = None
    latch: int | None = None
    latch_reason: str = ""

    @property
    def in_force(self) -> AppliedSplit:
        """The latest split; INITIAL_SPLIT before there is one."""
        return self.latest or INITIAL_SPLIT

    @property
    def highest_epoch(self) -> int:
        """The highest epoch in R.splits, anyone's; 0 without one."""
        return self.in_force.epoch

    def on_split(self, applied: AppliedSplit) -> None:
        """A record of R.splits, or a split that this caller adopted and has yet to write there."""
        if applied.registered and (self.registered is None or applied.epoch > self.registered.epoch):
            self.registered = applied
        if self.latest is None or applied.epoch >= self.latest.epoch:
            self.latest = applied

    def on_rollback(self, rollout: int, reason: str = "") -> None:
        """A rollback in R.rollout-events."""
        if self.latch is None or rollout > self.latch:
            self.latch, self.latch_reason = rollout, reason

    def forbids(self, applied: AppliedSplit) -> bool:
        """Whether the split gives canary a share in a rollout that was rolled back."""
        return applied.canary > 0 and self.latch is not None and applied.rollout <= self.latch
