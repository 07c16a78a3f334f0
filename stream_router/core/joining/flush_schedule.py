"""When the evidence of a partition is written: as rarely as the verdict allows, since each time is a transaction."""

from typing import Final

COUNTS_WAIT: Final = 1.0
"""Seconds for which counts are gathered: windows are looked at by people."""

OUTCOMES_WAIT: Final = 0.25
"""Seconds between writings of outcomes that do not close a block by themselves: with those of others they may. One that
comes after a pause is written at once."""

WATERMARK_EVERY: Final = 5.0
"""Seconds between watermarks that nothing waits for, or not impatiently; they bound how late windows mature."""

WATERMARK_FOR_OUTCOMES: Final = 1.0
"""Seconds between watermarks while outcomes of the partition may still ripen by them: so much later comes a verdict."""

RIPENING_LOOKED_AT: Final = 600_000
"""Milliseconds after the last window with an outcome for which its ripening is looked at so often.

The ripe age is the controller's, an owner does not know it. A verdict that waits longer comes WATERMARK_EVERY later at
most, less than a hundredth of what it waited; an owner that looked out for it as long as labels may come would write a
transaction a second for a day.
"""


class FlushSchedule:
    """Of one tenure. All times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._counts_since: float | None = None
        self._outcomes_since: float | None = None
        self._outcomes_at = float("-inf")
        self._moved_since: float | None = None
        self._has_watermark = False
        self._watermark_at = float("-inf")
        self._is_full = False

    def on_records(self, now: float) -> None:
        """Records were read, from which counts may follow."""
        if self._counts_since is None:
            self._counts_since = now

    def on_outcomes(self, now: float, *, is_full: bool) -> None:
        """Outcomes wait; `is_full`: so many that a block could close."""
        if self._outcomes_since is None:
            self._outcomes_since = now
        self._is_full = self._is_full or is_full

    def on_moved(self, now: float) -> None:
        """A position has moved, perhaps past nothing but a transaction's marker."""
        if self._moved_since is None:
            self._moved_since = now

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return self.due_at(ripening=True) == float("inf")

    def on_watermark(self) -> None:
        """There is a watermark to write."""
        self._has_watermark = True

    def due_at(self, *, ripening: bool) -> float:
        """From when on to write; infinity while there is nothing. `ripening`: outcomes of the partition may, soon."""
        if self._is_full:
            return float("-inf")
        due = float("inf")
        if self._counts_since is not None:
            due = min(due, self._counts_since + COUNTS_WAIT)
        if self._outcomes_since is not None:
            due = min(due, max(self._outcomes_since, self._outcomes_at + OUTCOMES_WAIT))
        if self._moved_since is not None:
            due = min(due, self._moved_since + WATERMARK_EVERY)
        if self._has_watermark:
            due = min(due, self._watermark_at + (WATERMARK_FOR_OUTCOMES if ripening else WATERMARK_EVERY))
        return due

    def on_flush(self, now: float, *, with_watermark: bool) -> None:
        """All that there was is on its way; `with_watermark`: the watermark, too, or it was refused."""
        if self._outcomes_since is not None:
            self._outcomes_at = now
        self._counts_since = self._outcomes_since = self._moved_since = None
        self._is_full = False
        if with_watermark:
            self._has_watermark, self._watermark_at = False, now
