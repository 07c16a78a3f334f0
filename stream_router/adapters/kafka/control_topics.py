"""R.splits and R.rollout-events, followed as they grow, as records of the core."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from stream_router.adapters.avro.log_records import decode_log_record
from stream_router.adapters.avro.records import decode_split
from stream_router.adapters.kafka.following import Follower
from stream_router.adapters.kafka.polling import Record
from stream_router.core.rollout.log_records import LogRecord
from stream_router.core.rollout.rollout_event import RolloutEvent
from stream_router.core.route import Route
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.errors import DecodeError
from stream_router.settings import Settings

T = TypeVar("T")
_log = structlog.get_logger()


@dataclass(frozen=True)
class News:
    """What was read at once, each topic's in its order; `log`: all of R.rollout-events, with the offsets."""

    splits: list[AppliedSplit]
    log: list[tuple[int, LogRecord]]

    @property
    def events(self) -> list[RolloutEvent]:
        """Rollbacks and verdicts."""
        return [record for _, record in self.log if isinstance(record, RolloutEvent)]


class ControlTopics:
    """Both topics have one partition and are never deleted. Raises UnreachableError, TopicError."""

    def __init__(self, settings: Settings, route: Route) -> None:
        self._splits, self._events = route.topic("splits"), route.topic("rollout-events")
        self._follower = Follower(settings, [self._events, self._splits])

    @property
    def at_ends(self) -> bool:
        """Whether both were read to their ends, and the brokers have been there since."""
        return self._follower.at_ends

    def read_to_ends(self) -> News:
        """All that there is and was not read before."""
        return self._news(self._follower.read_to_ends())

    def read(self, wait: float = 0.0) -> News:
        """What is new; waits `wait` seconds for a first record."""
        return self._news(self._follower.read(wait))

    def close(self) -> None:
        self._follower.close()

    def _news(self, records: list[Record]) -> News:
        def of(topic: str) -> Iterable[Record]:
            return (record for record in records if record.topic() == topic)

        splits = [applied for _, applied in _decoded(of(self._splits), decode_split)]
        return News(splits, _decoded(of(self._events), decode_log_record))


_FETCH_WAIT: Final = 20
"""Milliseconds for which the end of R.splits is waited for: predictions wait meanwhile."""


class SplitsTopic:
    """R.splits alone, read now and then. Raises UnreachableError, TopicError."""

    def __init__(self, settings: Settings, route: Route) -> None:
        self._follower = Follower(settings, [route.topic("splits")], _FETCH_WAIT)

    def read_to_end(self) -> list[tuple[AppliedSplit, int]]:
        """All that there is and was not read before, with the Kafka timestamps in ms since the epoch."""
        records = self._follower.read_to_ends()
        self._follower.rest()
        return [
            (applied, record.timestamp()[1]) for record in records for _, applied in _decoded([record], decode_split)
        ]

    def close(self) -> None:
        self._follower.close()


def _decoded(records: Iterable[Record], decode: Callable[[bytes | None], T]) -> list[tuple[int, T]]:
    """With their offsets. Only our own processes write these topics: what cannot be read is shown, and the others
    still count.
    """
    decoded: list[tuple[int, T]] = []
    for record in records:
        try:
            decoded.append((record.offset(), decode(record.value())))
        except DecodeError as error:
            _log.error("not readable", topic=record.topic(), offset=record.offset(), error=str(error))
    return decoded
