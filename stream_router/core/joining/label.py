"""A label: the truth about one request, as it stands in the log."""

from typing import NamedTuple

from stream_router.core.scoring.prediction import Value


class Label(NamedTuple):
    """`time` is its record's Kafka timestamp in milliseconds since the epoch, `offset` its place in its partition."""

    request_id: str
    value: Value
    time: int
    offset: int
