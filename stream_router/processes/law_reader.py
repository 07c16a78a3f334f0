"""R.splits and R.rollout-events, read to their ends, as records of the core."""

from collections.abc import Iterator

import structlog

from stream_router.adapters.kafka import Follower, Record
from stream_router.adapters.records import decode_law, decode_rollout_event
from stream_router.core.rollout.rollout_event import RolloutEvent
from stream_router.core.route import Route
from stream_router.core.routing.law import Law
from stream_router.errors import DecodeError
from stream_router.settings import Settings

_log = structlog.get_logger()


class LawReader:
    """Both topics have one partition and are never deleted. Raises UnreachableError, TopicError."""

    def __init__(self, settings: Settings, route: Route) -> None:
        self._splits = Follower(settings, route.topic("splits"))
        self._events = Follower(settings, route.topic("rollout-events"))

    def new_laws(self) -> Iterator[Law]:
        for record in self._splits.read_to_end():
            try:
                yield decode_law(record.value())
            except DecodeError as error:
                _unreadable(record, error)

    def new_events(self) -> Iterator[RolloutEvent]:
        for record in self._events.read_to_end():
            try:
                yield decode_rollout_event(record.value())
            except DecodeError as error:
                _unreadable(record, error)

    def close(self) -> None:
        self._splits.close()
        self._events.close()


def _unreadable(record: Record, error: DecodeError) -> None:
    """Only our own processes write these topics: what cannot be read is shown, and the others still count."""
    _log.error("not readable", topic=record.topic(), offset=record.offset(), error=str(error))
