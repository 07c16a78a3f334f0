"""What was recorded of a route's rollouts, and R.evidence read again for one of them. Belongs to no group."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from stream_router.adapters.clock import now_ms
from stream_router.adapters.kafka.audited import PartitionReader, committed_offsets, settled_ends
from stream_router.adapters.kafka.clients import partition_count, stable_ends
from stream_router.adapters.kafka.control_topics import ControlTopics, News
from stream_router.adapters.kafka.controller_log import evidence_of
from stream_router.core.deciding.backtest import Retrial
from stream_router.core.evidence import Evidence, RolloutStarted
from stream_router.core.policy import CLOCK_SKEW_MS
from stream_router.core.rollout.recorded import recorded_verdicts
from stream_router.core.route import Route
from stream_router.errors import DecodeError, GapError, SettingError
from stream_router.settings import Settings

_REPORT_EVERY: Final = 1_000
"""Offsets between two reports of the progress."""

Progress = Callable[[int, int], None]
"""Called with the offsets that have been read, and all there are."""


@dataclass(frozen=True)
class Recorded:
    """R.splits and R.rollout-events as they stand, and the offset of R.evidence below which the controller has written
    all that follows.
    """

    news: News
    position: int

    def rollout(self, wanted: int | None) -> int:
        """The wanted one, else the one in force or the last. Raises SettingError where there is none."""
        known = self._begins()
        if wanted is not None and wanted not in known:
            names = ", ".join(map(str, sorted(known))) or "none"
            raise SettingError(f"rollout {wanted} is none of this route: there have been {names}")
        if not known:
            raise SettingError("this route has had no rollout: canary never had a share")
        return max(known) if wanted is None else wanted

    def since(self, time: int) -> list[int]:
        """The rollouts that began at this time (ms since 1970) or later."""
        return sorted(rollout for rollout, began in self._begins().items() if began >= time)

    def began(self, rollout: int) -> int:
        """When canary first had a share in it, milliseconds since 1970."""
        return self._begins()[rollout]

    def _begins(self) -> dict[int, int]:
        begins: dict[int, int] = {}
        for split in self.news.splits:
            if split.rollout > 0 and split.canary > 0:
                begins[split.rollout] = min(split.time, begins.get(split.rollout, split.time))
        return begins


def read_recorded(settings: Settings, route: Route) -> Recorded:
    """Raises UnreachableError, TopicError."""
    position = committed_offsets(settings, route.controller_group, route.topic("evidence"), 1)[0]
    # Of what is committed by now the markers may still be on their way.
    settled_ends(settings, [route.topic("rollout-events")])
    control = ControlTopics(settings, route)
    try:
        return Recorded(control.read_to_ends(), position)
    finally:
        control.close()


class EvidenceReader:
    """R.evidence, from where a rollout begins. Raises UnreachableError, TopicError, GapError."""

    def __init__(self, settings: Settings, route: Route, progress: Progress) -> None:
        self._topic, self._progress = route.topic("evidence"), progress
        self._partitions = partition_count(settings, route.topic("predictions"))
        self._end = stable_ends(settings, self._topic, 1)[0]
        self._reader = PartitionReader(settings)
        self._low = self._reader.beginning(self._topic, 0, self._end, now_ms()).low

    def close(self) -> None:
        self._reader.close()

    def started(self, rollout: int, began: int) -> RolloutStarted:
        """The start record of the rollout in which canary had a share from `began` on, milliseconds since 1970.

        Raises GapError where R.evidence no longer holds the beginning, SettingError where there is no start record.
        """
        start = self._reader.offset_at(self._topic, 0, began - CLOCK_SKEW_MS, self._end)
        for _, evidence in self._records(start, self._end):
            started = evidence.rollout_started
            if started is not None and started.rollout == rollout:
                if started.first_offset < self._low:
                    raise self._gap(rollout, f"which began at {started.first_offset}")
                return started
        if 0 < self._low == start:
            raise self._gap(rollout, "whose start record it does not have")
        raise SettingError(f"rollout {rollout} has no start record in {self._topic}: no monitor has judged it")

    def retried(self, started: RolloutStarted, end: int | None = None) -> Retrial:
        """The rollout judged again, as if this were its start record, by the records below `end`, at most until a later
        one is in force.
        """
        retrial = Retrial(started, self._partitions)
        needs_stable = any(limit.metric == "accuracy_drop" for limit in started.policy.limits)
        start = self._low if needs_stable else started.first_offset
        end = self._end if end is None else min(end, self._end)
        for offset, evidence in self._records(start, end):
            retrial.on_record(offset, evidence)
            if offset % _REPORT_EVERY == 0:
                self._progress(offset - start, end - start)
            if retrial.is_over:
                break
        return retrial

    def _records(self, start: int, end: int) -> Iterator[tuple[int, Evidence]]:
        """What cannot be read is passed over, as by the controller."""
        for record in self._reader.records(self._topic, 0, start, end):
            try:
                yield record.offset(), evidence_of(record)
            except DecodeError:
                continue

    def _gap(self, rollout: int, why: str) -> GapError:
        return GapError(
            f"{self._topic} begins at offset {self._low} and no longer holds the beginning of rollout {rollout}, "
            f"{why}: it cannot be judged again"
        )


def replayed_to(recorded: Recorded, rollout: int) -> int:
    """The offset of R.evidence up to which every verdict of the rollout is recorded."""
    offsets = (event.evidence_offset for event in recorded_verdicts(recorded.news.events, rollout))
    return max(recorded.position, *(1 + (offset or 0) for offset in offsets), 0)
