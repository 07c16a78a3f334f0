"""R.evidence as the owners of input partitions write it: one transaction a flush, its positions within.

The transactional id is `R.evidence.<partition>`, so Kafka itself shuts out an owner that has a successor. The positions
are offsets of a group without members; the metadata of these offsets carries where a successor has to begin to read.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import structlog
from confluent_kafka import Consumer, TopicPartition

from stream_router.adapters.avro.evidence import decode_evidence, encode_evidence
from stream_router.adapters.detached import detached
from stream_router.adapters.kafka.clients import TIMEOUT, reader
from stream_router.adapters.kafka.polling import TopicReader
from stream_router.adapters.kafka.producers import Outgoing, TransactionalProducer
from stream_router.core.evidence import Evidence, Positions
from stream_router.core.route import Route
from stream_router.errors import DecodeError
from stream_router.settings import Settings

_METADATA: Final = re.compile(r"rebuild=(\d+);tick=(\d+)(?:;outcome=(\d+))?(?:;at=(\d+))?")
_BLOCK: Final = 2_000
"""Records of R.evidence that are read at once on the way back through it."""

_log = structlog.get_logger()


class ResumePoint(NamedTuple):
    """Where an owner of the partition goes on.

    All before `positions` has been said; rows are rebuilt from `rebuild_from` on. `watermark` is the latest that the
    partition's evidence carries, `newest_outcome` the latest time of an outcome in it, 0 before the first.
    `broker_time` is when the positions were written, 0 where that is not known. All in milliseconds since the epoch.
    """

    positions: Positions
    rebuild_from: Positions
    watermark: int
    newest_outcome: int = 0
    broker_time: int = 0


class Inputs(NamedTuple):
    """The partition of both inputs."""

    predictions: TopicPartition
    ground_truth: TopicPartition


@dataclass(frozen=True, slots=True)
class Membership:
    """That of a group without members, which never changes."""

    metadata: Any

    def consumer_group_metadata(self) -> Any:
        """See confluent_kafka.Consumer."""
        return self.metadata


class EvidenceLog:
    """What all owners of one process share. Its methods may be called in any thread."""

    def __init__(self, settings: Settings, route: Route) -> None:
        self._settings, self.route = settings, route
        with closing(reader(settings, route.evidence_group)) as group:
            self._membership = Membership(group.consumer_group_metadata())

    def inputs(self, partition: int) -> Inputs:
        topics = (self.route.topic("predictions"), self.route.topic("ground-truth"))
        return Inputs(*(TopicPartition(topic, partition) for topic in topics))

    def writer(self, partition: int) -> "EvidenceWriter":
        """Shuts out whoever wrote the evidence of the partition before. Raises KafkaException, UnreachableError."""
        return EvidenceWriter(self._settings, self.route, self._membership, self.inputs(partition))

    def resume_point(self, partition: int) -> ResumePoint:
        """Read where to go on, within what the logs still hold. Raises KafkaException.

        By a client of its own: one that has lived through the shutdown of its coordinator may never find another, and
        one that waits for offsets which are not stable lets all others wait, too.
        """
        group = reader(self._settings, self.route.evidence_group)
        try:
            return self._resume_point(group, partition)
        finally:
            detached(group.close, name="end of a reader")

    def _resume_point(self, group: Consumer, partition: int) -> ResumePoint:
        inputs = self.inputs(partition)
        lows = [group.get_watermark_offsets(side, TIMEOUT)[0] for side in inputs]
        committed = group.committed(list(inputs), TIMEOUT)
        offsets, watermark = [side.offset for side in committed if side.offset is not None and side.offset >= 0], 0
        if len(offsets) == len(committed):
            positions = Positions(*offsets)
            known = [_METADATA.fullmatch(side.metadata or "") for side in committed]
        else:
            said, watermark = self._newest(group, partition)
            positions, known = said or Positions(*lows), [None, None]
        starts = [int(found[1]) if found else low for found, low in zip(known, lows, strict=True)]
        watermark = max((int(found[2]) for found in known if found), default=watermark)
        newest_outcome = max((int(found[3] or 0) for found in known if found), default=0)
        broker_time = max((int(found[4] or 0) for found in known if found), default=0)
        return ResumePoint(
            Positions(*self._within(inputs, positions, lows, "records were deleted before they were joined")),
            Positions(*self._within(inputs, starts, lows, "records that earlier ones may still join were deleted")),
            watermark,
            newest_outcome,
            broker_time,
        )

    def _within(self, inputs: Inputs, offsets: Iterable[int], lows: Sequence[int], loss: str) -> list[int]:
        clamped = []
        for side, offset, low in zip(inputs, offsets, lows, strict=True):
            if offset < low:
                _log.error(loss, topic=side.topic, partition=side.partition, first_missing=offset, log_start=low)
            clamped.append(max(offset, low))
        return clamped

    def _newest(self, group: Consumer, partition: int) -> tuple[Positions | None, int]:
        """The partition's newest positions and watermark: for the day on which the group's offsets have expired.

        Without the watermark, 0 where there is none, all windows that have matured would be told of once more.
        """
        topic, positions = self.route.topic("evidence"), None
        low, high = group.get_watermark_offsets(TopicPartition(topic, 0), TIMEOUT)
        for first in range(high - _BLOCK, low - _BLOCK, -_BLOCK):
            for evidence in reversed(self._block(topic, max(first, low), first + _BLOCK)):
                if evidence.partition == partition:
                    positions = positions or evidence.positions
                    if positions and evidence.watermark is not None:
                        return positions, evidence.watermark
        return positions, 0

    def _block(self, topic: str, first: int, end: int) -> list[Evidence]:
        """The readable records of [first, end)."""
        topic_reader, found = TopicReader(self._settings, topic, {0: first}), []
        try:
            for record in topic_reader.read_to({0: end}):
                if record.offset() >= end:
                    break
                try:
                    found.append(decode_evidence(record.value()))
                except DecodeError as error:
                    _log.error("evidence cannot be read", offset=record.offset(), error=str(error))
        finally:
            topic_reader.close()
        return found


class EvidenceWriter:
    """Writes the evidence of one input partition. After any error it is done with: retire it and make a new one."""

    def __init__(self, settings: Settings, route: Route, membership: "Membership", inputs: Inputs) -> None:
        self._topic, self._membership, self._inputs = route.topic("evidence"), membership, inputs
        self._producer = TransactionalProducer.in_place(settings, f"{self._topic}.{inputs.predictions.partition}")

    def write(self, records: Sequence[Evidence], dead_letters: Sequence[Outgoing], resume: ResumePoint) -> int | None:
        """One transaction; `resume` is where a successor goes on. Raises KafkaException, UnreachableError.

        Returns when the broker appended it, in milliseconds since the epoch; None where R.evidence does not tell.
        """
        evidence = [Outgoing(self._topic, encode_evidence(record), partition=0) for record in records]
        said = f"tick={resume.watermark};outcome={resume.newest_outcome};at={resume.broker_time}"
        offsets = [
            TopicPartition(side.topic, side.partition, offset, f"rebuild={start};{said}")
            for side, offset, start in zip(self._inputs, resume.positions, resume.rebuild_from, strict=True)
        ]
        return self._producer.write([*dead_letters, *evidence], offsets, self._membership)

    def retire(self) -> None:
        self._producer.retire()
