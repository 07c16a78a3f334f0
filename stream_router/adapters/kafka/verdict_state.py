"""R.verdict-state: the newest snapshot of the fold of R.evidence, in parts that a record can hold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import TopicPartition

from stream_router.adapters.arrays import pack, unpack
from stream_router.adapters.avro.verdict_state import Part, decode_part, encode_part
from stream_router.adapters.kafka.clients import TIMEOUT, reader
from stream_router.adapters.kafka.failures import explaining
from stream_router.adapters.kafka.polling import TopicReader
from stream_router.adapters.kafka.producers import Outgoing
from stream_router.core.route import Route
from stream_router.errors import DecodeError
from stream_router.settings import Settings

_PARTITION: Final = 0
_PART_BYTES: Final = 900_000
_FIRST_LOOK: Final = 64
"""Offsets from the end on in which a small snapshot is surely found."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`offset`: of the first record of R.evidence that it does not know. `format`: version of what `state` holds."""

    offset: int
    format: int
    state: Mapping[str, Any]


def records_of(route: Route, snapshot: Snapshot) -> Iterator[Outgoing]:
    """What is to be written in one transaction."""
    body = pack(snapshot.state)
    bodies = [body[start : start + _PART_BYTES] for start in range(0, len(body), _PART_BYTES)]
    for number, some in enumerate(bodies):
        part = Part(offset=snapshot.offset, part=number, parts=len(bodies), format=snapshot.format, body=some)
        yield Outgoing(route.topic("verdict-state"), encode_part(part), f"part-{number}".encode(), _PARTITION)


def newest_snapshot(settings: Settings, route: Route) -> Snapshot | None:
    """None where there is none; raises DecodeError where it is damaged, UnreachableError, TopicError.

    It is looked for from the end: its parts are the last records of the topic, which may hold many that are replaced.
    """
    topic, partition = route.topic("verdict-state"), TopicPartition(route.topic("verdict-state"), _PARTITION)
    client = reader(settings)
    try:
        with explaining(settings, f"asking for the ends of topic {topic}"):
            low, end = client.get_watermark_offsets(partition, TIMEOUT)
    finally:
        client.close()
    span, start = _FIRST_LOOK, end
    while start > low:
        start = max(low, end - span)
        values = _read(settings, topic, start, end)
        last = decode_part(values[-1]) if values else None
        if last is not None and (len(values) >= last.parts or start == low):
            return _together([decode_part(value) for value in values[-last.parts :]])
        span *= 8
    return None


def _read(settings: Settings, topic: str, start: int, end: int) -> list[bytes | None]:
    topic_reader = TopicReader(settings, topic, {_PARTITION: start})
    try:
        return [record.value() for record in topic_reader.read_to({_PARTITION: end})]
    finally:
        topic_reader.close()


def _together(parts: list[Part]) -> Snapshot:
    """Raises DecodeError where these are not all parts of one snapshot."""
    last = parts[-1]
    if [part.part for part in parts if part.offset == last.offset] != list(range(last.parts)):
        raise DecodeError(f"of the snapshot that stands for offset {last.offset} not all {last.parts} parts are there")
    return Snapshot(last.offset, last.format, unpack(b"".join(part.body for part in parts)))
