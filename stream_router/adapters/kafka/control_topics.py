"""R.splits and R.rollout-events, read to their ends, as records of the core."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import structlog

from stream_router.adapters.avro.records import decode_rollout_event, decode_split
from stream_router.adapters.kafka.polling import Follower
from stream_router.core.rollout.rollout_event import RolloutEvent
from stream_router.core.route import Route
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.errors import DecodeError
from stream_router.settings import Settings

T = TypeVar("T")
_log = structlog.get_logger()


class ControlTopics:
    """Both topics have one partition and are never deleted. Raises UnreachableError, TopicError."""

    def __init__(self, settings: Settings, route: Route) -> None:
        self._splits = Follower(settings, route.topic("splits"))
        self._events = Follower(settings, route.topic("rollout-events"))

    def new_splits(self) -> Iterator[AppliedSplit]:
        return _decoded(self._splits, decode_split)

    def new_events(self) -> Iterator[RolloutEvent]:
        return _decoded(self._events, decode_rollout_event)

    def close(self) -> None:
        self._splits.close()
        self._events.close()


def _decoded(follower: Follower, decode: Callable[[bytes | None], T]) -> Iterator[T]:
    """Only our own processes write these topics: what cannot be read is shown, and the others still count."""
    for record in follower.read_to_end():
        try:
            yield decode(record.value())
        except DecodeError as error:
            _log.error("not readable", topic=record.topic(), offset=record.offset(), error=str(error))
