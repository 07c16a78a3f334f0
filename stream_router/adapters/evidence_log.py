"""R.evidence as the owners of input partitions write it: one transaction a flush, its positions within.

The transactional id is `R.evidence.<partition>`, so Kafka itself shuts out an owner that has a successor. The positions
are offsets of a group without members; the metadata of these offsets carries where a successor has to begin to read.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from stream_router.adapters.kafka import TIMEOUT, client_config, reader
from stream_router.adapters.records import decode_evidence, encode_evidence
from stream_router.core.joining.evidence import Evidence, Positions
from stream_router.core.route import Route
from stream_router.errors import DecodeError
from stream_router.settings import Settings

_METADATA: Final = re.compile(r"rebuild=(\d+);tick=(\d+)")
_BLOCK: Final = 2_000
"""Records of R.evidence that are read at once on the way back through it."""

_log = structlog.get_logger()


class Place(NamedTuple):
    """Where an owner of the partition goes on: all before `base` has been said, rows are rebuilt from `start` on.

    `tick` is the latest that the partition's evidence carries, milliseconds since the epoch; 0 before the first.
    """

    base: Positions
    start: Positions
    tick: int


class DeadLetter(NamedTuple):
    """A record for R.dead-letters."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Inputs(NamedTuple):
    """The partition of both inputs."""

    predictions: TopicPartition
    ground_truth: TopicPartition


class EvidenceLog:
    """What all owners of one process share: a client that reads positions. Its methods may be called in any thread."""

    def __init__(self, settings: Settings, route: Route) -> None:
        self._settings, self._route = settings, route
        self._group = reader(settings, route.evidence_group)

    def inputs(self, partition: int) -> Inputs:
        topics = (self._route.topic("predictions"), self._route.topic("ground-truth"))
        return Inputs(*(TopicPartition(topic, partition) for topic in topics))

    def writer(self, partition: int) -> "EvidenceWriter":
        """Shuts out whoever wrote the evidence of the partition before. Raises KafkaException."""
        return EvidenceWriter(self._settings, self._route, self._group, self.inputs(partition))

    def place(self, partition: int) -> Place:
        """Read where to go on, within what the logs still hold. Raises KafkaException."""
        inputs = self.inputs(partition)
        lows = [self._group.get_watermark_offsets(place, TIMEOUT)[0] for place in inputs]
        committed = self._group.committed(list(inputs), TIMEOUT)
        offsets = [place.offset for place in committed if place.offset is not None and place.offset >= 0]
        if len(offsets) == len(committed):
            base = Positions(*offsets)
            known = [_METADATA.fullmatch(place.metadata or "") for place in committed]
        else:
            newest = self._newest(partition)
            base = newest.positions if newest and newest.positions else Positions(*lows)
            known = [None, None]
        starts = [int(found[1]) if found else low for found, low in zip(known, lows, strict=True)]
        tick = max((int(found[2]) for found in known if found), default=0)
        return Place(
            Positions(*self._within(inputs, base, lows, "records were deleted before they were joined")),
            Positions(*self._within(inputs, starts, lows, "records that earlier ones may still join were deleted")),
            tick,
        )

    def _within(self, inputs: Inputs, offsets: Iterable[int], lows: Sequence[int], loss: str) -> list[int]:
        clamped = []
        for place, offset, low in zip(inputs, offsets, lows, strict=True):
            if offset < low:
                _log.error(loss, topic=place.topic, partition=place.partition, first_missing=offset, log_start=low)
            clamped.append(max(offset, low))
        return clamped

    def _newest(self, partition: int) -> Evidence | None:
        """The partition's newest evidence with positions: for the day on which the group's offsets have expired."""
        topic = self._route.topic("evidence")
        client = reader(self._settings)
        try:
            low, high = client.get_watermark_offsets(TopicPartition(topic, 0), TIMEOUT)
            for first in range(high - _BLOCK, low - _BLOCK, -_BLOCK):
                for message in reversed(self._block(client, topic, max(first, low), first + _BLOCK)):
                    try:
                        evidence = decode_evidence(message.value())
                    except DecodeError as error:
                        _log.error("evidence cannot be read", offset=message.offset(), error=str(error))
                        continue
                    if evidence.partition == partition and evidence.positions:
                        return evidence
            return None
        finally:
            client.close()

    def _block(self, client: Consumer, topic: str, first: int, end: int) -> list[Message]:
        """Committed records of [first, end)."""
        client.assign([TopicPartition(topic, 0, first)])
        found: list[Message] = []
        while True:
            for message in client.consume(_BLOCK, 0.1):
                error = message.error()
                if error is None:
                    if (message.offset() or 0) >= end:
                        return found
                    found.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own code is spelt so
                    return found
                elif not error.retriable():
                    raise KafkaException(error)

    def close(self) -> None:
        self._group.close()


class EvidenceWriter:
    """Writes the evidence of one input partition. After any error it is done with: make a new one."""

    def __init__(self, settings: Settings, route: Route, group: Consumer, inputs: Inputs) -> None:
        self._route, self._group, self._inputs = route, group, inputs
        defaults: dict[str, Any] = {
            "linger.ms": 0,
            "compression.type": "lz4",
            "transaction.timeout.ms": 10_000,
            "retry.backoff.ms": 10,
            "enable.sparse.connections": False,  # init_transactions in 4 ms instead of 55 or 505
            "message.max.bytes": 4_000_000,
        }
        contract = {
            "transactional.id": f"{route.topic('evidence')}.{inputs.predictions.partition}",
            "partitioner": "murmur2_random",
        }
        self._producer = Producer(client_config(settings, defaults, contract))
        self._producer.init_transactions(20)

    def write(self, records: Sequence[Evidence], dead_letters: Sequence[DeadLetter], place: Place) -> None:
        """One transaction; `place` is where a successor goes on. Raises KafkaException."""
        producer = self._producer
        producer.begin_transaction()
        for letter in dead_letters:
            self._produce(self._route.topic("dead-letters"), letter.value, letter.key, -1, letter.headers)
        for record in records:
            self._produce(self._route.topic("evidence"), encode_evidence(record), None, 0, ())
        # Before the offsets: else the two requests race, and one waits out retry.backoff.ms.
        if producer.flush(TIMEOUT):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "the evidence was not acknowledged"))  # noqa: SLF001 - as above
        offsets = [
            TopicPartition(side.topic, side.partition, offset, f"rebuild={start};tick={place.tick}")
            for side, offset, start in zip(self._inputs, place.base, place.start, strict=True)
        ]
        producer.send_offsets_to_transaction(offsets, self._group.consumer_group_metadata(), TIMEOUT)
        producer.commit_transaction(TIMEOUT)

    def _produce(self, topic: str, value: Any, key: Any, partition: int, headers: Any) -> None:
        while True:
            try:
                return self._producer.produce(topic, value, key, partition, headers=list(headers))
            except BufferError:
                self._producer.poll(0.05)
