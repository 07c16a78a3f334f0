"""What an owner knows from one takeover until it is refused: all of it is forgotten together."""

import math
from collections.abc import Mapping

from aiokafka.errors import KafkaError
from faust.types import TP

from stream_router.adapters.kafka.dead_letters import DeadLetter
from stream_router.adapters.kafka.evidence_log import ResumePoint
from stream_router.core.deciding.blocks import full_size
from stream_router.core.evidence import MAX_OUTCOMES, Positions, share_of_outcomes
from stream_router.core.joining.flush_schedule import RIPENING_LOOKED_AT, FlushSchedule
from stream_router.core.joining.join import Join
from stream_router.core.joining.split_history import SplitHistory
from stream_router.core.policy import Policy


class Tenure:
    """`positions`: how far both inputs have been read. `seek`: number of the latest seek, None where one is wanted.

    `since`: the clock at the takeover. `watermark`: a clock up to which all has been read, and that is not yet written.
    `newest_label`: the latest time of a label that was read, 0 before the first. `changes`: records joined since the
    rows were written to disk, at `on_disk_since` in seconds of a monotonic clock.
    """

    def __init__(
        self, policy: Policy, resume: ResumePoint, join: Join, *, begin: Positions, since: int, now: float
    ) -> None:
        """`begin`: where to read from; `now` in seconds of a monotonic clock."""
        self.resume, self.join, self.since = resume, join, since
        self.positions = begin
        self.schedule = FlushSchedule()
        self.seek: int | None = None
        self.failure: KafkaError | None = None
        self.watermark: int | None = None
        self.newest_label = 0
        self.changes, self.on_disk_since = 0, now
        self.dead_letters: list[DeadLetter] = []
        self.is_joining = False
        self._policy = policy
        self._offered: tuple[int, Mapping[TP, int]] | None = None

    @property
    def is_rebuilt(self) -> bool:
        """Whether both inputs have been read up to where a predecessor had spoken."""
        return all(read >= said for read, said in zip(self.positions, self.resume.positions, strict=True))

    @property
    def is_said(self) -> bool:
        """Whether nothing is left to write, or nothing may be written."""
        return not self.is_rebuilt or (self.is_joining and self.schedule.is_empty)

    @property
    def ripens(self) -> bool:
        """Whether outcomes that were written may ripen soon by this partition's watermarks: by RIPENING_LOOKED_AT."""
        policy = self._policy
        after = policy.window + min(max(policy.label_horizon, policy.prediction_deadline), RIPENING_LOOKED_AT)
        return self.resume.watermark < self.resume.newest_outcome + after

    def on_read(self, moved: Positions, *, records: int, partitions: int, splits: SplitHistory, now: float) -> None:
        """A chunk has been joined; `now` in seconds of a monotonic clock."""
        self.positions = moved
        self.schedule.on_moved(now)
        if records:
            self.changes += records
            self.schedule.on_records(now)
        pending = self.join.pending
        if pending:
            shares = {key: splits.canary_share(key.epoch, key.digest) for key in pending}
            self.schedule.on_outcomes(
                now,
                is_full=sum(pending.values()) >= MAX_OUTCOMES
                or any(count >= _part(shares[key], partitions) for key, count in pending.items()),
            )

    def offer(self, clock: int, ends: Mapping[TP, int]) -> None:
        """The inputs' ends, asked for after `clock` was read. One from before the takeover is refused."""
        if self.since < clock and self._offered is None:
            self._offered = clock, ends

    def reach(self, offsets: Mapping[TP, int]) -> None:
        """The clock that was offered is a watermark once all has been read that the inputs held then."""
        if self._offered is None:
            return
        clock, ends = self._offered
        if all(offset >= ends.get(tp, 0) for tp, offset in offsets.items()):
            self._offered, self.watermark = None, clock
            self.schedule.on_watermark()

    def due_at(self) -> float:
        """When to flush, in seconds of a monotonic clock; infinity while there is no reason."""
        if self.seek is None or self.failure is not None or (self.is_rebuilt and not self.is_joining):
            return -math.inf
        return self.schedule.due_at(ripening=self.ripens) if self.is_rebuilt else math.inf


def _part(share: float | None, partitions: int) -> float:
    """A partition's part of the outcomes of a full block."""
    return math.ceil(full_size(share_of_outcomes(share)) / partitions) if share else math.inf
