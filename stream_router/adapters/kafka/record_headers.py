"""Reading the headers of records, which the client cannot where a header's name is not UTF-8."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from operator import methodcaller
from typing import Final, cast

from confluent_kafka import Message

from stream_router.adapters.kafka.polling import Record
from stream_router.core.routing.header import Headers
from stream_router.errors import DecodeError

_UNREADABLE: Final = (UnicodeDecodeError, SystemError)
"""What the client raises then. Asked once more it gives the headers half made."""

_Read = Callable[[Record], Headers | None]
# The client raises and gives something at once. The interpreter misses that where it calls the method itself, once it
# has done so often, and finds the error at any later call; `map` and `methodcaller` look at what comes back.
_of_one: Final[_Read] = methodcaller("headers")
_of_each = cast("_Read", Message.headers)  # a fifth of the other's time


def readable_headers(record: Record) -> Headers | None:
    """None also where a header's name is not UTF-8."""
    try:
        return _of_one(record)
    except _UNREADABLE:
        return None


def read_headers(records: Sequence[Record]) -> tuple[list[Headers | None], dict[int, DecodeError]]:
    """The headers of each record, and by its place in the batch why one cannot be read: it is not asked twice."""
    headers: list[Headers | None] = []
    problems: dict[int, DecodeError] = {}
    while len(headers) < len(records):
        try:
            headers.extend(_read_on(records, len(headers)))
        except _UNREADABLE as error:  # what was read before it stays read
            problems[len(headers)] = _unreadable(error)
            headers.append(None)
    return headers, problems


def _read_on(records: Sequence[Record], start: int) -> Iterable[Headers | None]:
    return map(_of_each, islice(records, start, None))


def _unreadable(error: BaseException) -> DecodeError:
    """Why the record is a dead letter whose headers raised this."""
    cause = error if isinstance(error, UnicodeDecodeError) else error.__cause__
    name = f" {cause.object[:80]!r}" if isinstance(cause, UnicodeDecodeError) else ""
    return DecodeError(
        f"a header's name{name} is not UTF-8, so the client can read none of its headers, and none is kept: name "
        "headers in UTF-8"
    )
