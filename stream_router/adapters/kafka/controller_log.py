"""R.evidence as a route's one controller reads it, and the transactions in which it answers.

The consumer group elects the controller; Kafka shuts out its predecessor (transactional id) and whoever has lost the
group since (the group's generation goes with each commit).
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import structlog
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, TopicPartition

from stream_router.adapters.avro.evidence import decode_evidence
from stream_router.adapters.kafka.clients import TIMEOUT, consumer_for, session
from stream_router.adapters.kafka.failures import explaining
from stream_router.adapters.kafka.group import GroupMember
from stream_router.adapters.kafka.polling import Record
from stream_router.adapters.kafka.producers import Outgoing, TransactionalProducer
from stream_router.core.evidence import Evidence
from stream_router.core.route import Route
from stream_router.errors import FencedError
from stream_router.settings import Settings

_log = structlog.get_logger()
_PARTITION: Final = 0

_COUNT: Final = 500
"""Records of one read."""


def evidence_of(record: Record) -> Evidence:
    """A record of R.evidence, with the broker's time where the topic has that. Raises DecodeError."""
    evidence, (kind, time_ms) = decode_evidence(record.value()), record.timestamp()
    return replace(evidence, appended_at=time_ms) if kind == TIMESTAMP_LOG_APPEND_TIME else evidence


class ControllerLog:
    """One membership in the controller's group.

    While it leads: `term` numbers the times it was elected, `position` is the offset behind what was written, and
    reading begins at `replay_from`, unless `begin_at` says otherwise; `low` is where R.evidence begins, `asked` where
    reading should have begun, `held` up to which rollout a predecessor did not judge. Raises FencedError where another
    controller has taken over, UnreachableError, TopicError.
    """

    def __init__(self, settings: Settings, route: Route) -> None:
        self._settings, self._route = settings, route
        self._topic = route.topic("evidence")
        self._producer: TransactionalProducer | None = None
        self.term = self.position = self.replay_from = self.low = self.asked = self.held = 0
        self._begun_at = self._next = self._end = 0
        contract = {
            "group.id": route.controller_group,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
        defaults = {**session(settings, 6_000, 500), "fetch.queue.backoff.ms": 10}
        self._member = GroupMember(consumer_for(settings, defaults, contract), self._topic, self)
        self._member.join()

    @property
    def leads(self) -> bool:
        return self._producer is not None

    @property
    def caught_up(self) -> bool:
        """Whether all that R.evidence held when we took over has been read."""
        return self.leads and self._next >= self._end

    @property
    def progress(self) -> tuple[int, int]:
        """Records read on the way to what R.evidence held when we took over, and how many these are."""
        return self._next - self._begun_at, self._end - self._begun_at

    def begin_at(self, offset: int) -> None:
        """Read from there instead of `replay_from`; what has been read already is to be dropped."""
        with explaining(self._settings, f"reading topic {self._topic}"):
            self._member.client.assign([TopicPartition(self._topic, _PARTITION, offset)])
        self._begun_at = self._next = offset

    def read(self, timeout: float) -> list[Record]:
        """What is new; `timeout` in seconds."""
        with explaining(self._settings, f"reading topic {self._topic}"):
            polled = self._member.poll(_COUNT, timeout)
        for record in polled.records:
            self._next = record.offset() + 1
        for offset in polled.ends.values():
            self._next = max(self._next, offset)
        return polled.records

    def write(self, records: Iterable[Outgoing], position: int, replay_from: int, held: int) -> None:
        """One transaction: the records, the position behind them, where a successor has to begin to read, and up to
        which rollout it must not judge.
        """
        if self._producer is None:
            raise FencedError("this process is not the route's controller any more")
        offset = TopicPartition(self._topic, _PARTITION, position, f"replay={replay_from};held={held}")
        doing = f"the controller of route {self._route.name} wrote"
        with explaining(self._settings, doing):
            self._producer.write(records, [offset], self._member.client)

    def close(self) -> None:
        self._member.close()
        self._retire()

    def on_assigned(self, partitions: list[TopicPartition]) -> None:
        """See RebalanceListener."""
        if partitions:
            self._take_over(partitions[0])

    def on_revoked(self, partitions: list[TopicPartition]) -> None:
        """See RebalanceListener."""
        del partitions
        self._retire()
        self._member.client.unassign()

    on_lost = on_revoked

    def _take_over(self, evidence: TopicPartition) -> None:
        client = self._member.client
        # Before the offset below is asked for, which is then the predecessor's last.
        producer = TransactionalProducer.in_place(self._settings, self._route.controller_group)
        committed = client.committed([evidence], TIMEOUT)[0]
        self.low, self._end = client.get_watermark_offsets(evidence, TIMEOUT)
        self.position = committed.offset if committed.offset >= 0 else self.low
        noted = re.fullmatch(r"replay=(\d+);held=(\d+)", committed.metadata or "")
        self.asked, self.held = (int(noted[1]), int(noted[2])) if noted else (self.position, 0)
        self.replay_from = max(self.low, min(self.asked, self.position))
        self._begun_at = self._next = self.replay_from
        client.assign([TopicPartition(self._topic, _PARTITION, self.replay_from)])
        self._producer = producer
        self.term += 1
        _log.info("controller", route=self._route.name, position=self.position, replay_from=self.replay_from)

    def _retire(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.retire()
