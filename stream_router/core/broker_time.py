"""The brokers' clock, as far as a process knows it: what a clock of its own is held against."""

from stream_router.core.policy import CLOCK_SKEW_MS


class BrokerTime:
    """`now` is a monotonic clock in milliseconds, which the brokers' clock keeps up with."""

    def __init__(self) -> None:
        self._ahead_of_ours: int | None = None

    def on_told(self, time: int, now: int) -> None:
        """A broker appended a record at `time`, milliseconds since the epoch, and we heard of it at `now`."""
        self._ahead_of_ours = time - now

    def at(self, now: int) -> int | None:
        """Milliseconds since the epoch; None as long as no broker has told its time."""
        return None if self._ahead_of_ours is None else now + self._ahead_of_ours

    def excess(self, time: int, now: int) -> int:
        """By how many milliseconds a time lies further ahead than clocks may differ; 0 where it does not, or where no
        broker has told its time.
        """
        known = self.at(now)
        return 0 if known is None else max(0, time - known - CLOCK_SKEW_MS)
