"""R.evidence as a route's one controller reads it, and the transactions in which it answers.

The consumer group elects the controller; Kafka shuts out its predecessor (transactional id) and whoever has lost the
group since (the group's generation goes with each commit).
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from stream_router.adapters.kafka import TIMEOUT, client_config, explain, fetch
from stream_router.adapters.watchdog import watchdog
from stream_router.core.route import Route
from stream_router.errors import FencedError
from stream_router.settings import Settings

_log = structlog.get_logger()
_PARTITION: Final = 0
_HUNG: Final = 60.0
"""Seconds after which a transaction has hung."""


class Entry(NamedTuple):
    """A record to write."""

    topic: str
    key: bytes | None
    value: bytes
    headers: list[tuple[str, str | bytes | None]] | None = None


class ControllerLog:
    """Raises StreamRouterError where another controller has taken over, UnreachableError, TopicError."""

    def __init__(self, settings: Settings, route: Route) -> None:
        self._settings, self._route = settings, route
        self._topic = route.topic("evidence")
        self._producer: Producer | None = None
        self._closing = False
        self._callback_error: KafkaException | None = None
        self.term = self.position = self.replay_from = self.next = self.end = 0
        self.overran, self.held = False, 0
        contract = {
            "group.id": route.controller_group,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
        defaults = {"session.timeout.ms": 6_000, "heartbeat.interval.ms": 500, "fetch.queue.backoff.ms": 10}
        self._consumer = Consumer(client_config(settings, defaults, contract))
        self._consumer.subscribe(
            [self._topic], on_assign=self._take_over, on_revoke=self._give_up, on_lost=self._give_up
        )

    @property
    def leads(self) -> bool:
        return self._producer is not None

    @property
    def caught_up(self) -> bool:
        """Whether all that R.evidence held when we took over has been read."""
        return self.leads and self.next >= self.end

    def read(self, timeout: float) -> list[tuple[int, bytes | None]]:
        """Offset and value of what is new; `timeout` in seconds."""
        found = []
        try:
            for record in fetch(self._consumer, 500, timeout):
                error = record.error()
                if error is None:
                    self.next = record.offset() + 1
                    found.append((record.offset(), record.value()))
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own codes are spelt so
                    self.next = max(self.next, record.offset())
                elif error.fatal() or not error.retriable():
                    raise explain(error, self._settings, f"reading topic {self._topic}")
            if self._callback_error is not None:
                raise self._callback_error
        except KafkaException as error:
            raise explain(error, self._settings, f"reading topic {self._topic}") from error
        return found

    def write(self, entries: Iterable[Entry], position: int, replay_from: int, held: int) -> None:
        """One transaction: the entries, the position behind them, where a successor has to begin to read, and up to
        which rollout it must not judge.
        """
        if self._producer is None:
            raise FencedError("this process is not the route's controller any more")
        offset = TopicPartition(self._topic, _PARTITION, position, f"replay={replay_from};held={held}")
        try:
            with watchdog(f"transaction of the controller of route {self._route.name}", _HUNG):
                self._write(self._producer, entries, offset)
        except KafkaException as error:
            raise explain(error, self._settings, f"the controller of route {self._route.name} wrote") from error

    def _write(self, producer: Producer, entries: Iterable[Entry], offset: TopicPartition) -> None:
        producer.begin_transaction()
        for entry in entries:
            # Each of these topics has one partition.
            producer.produce(entry.topic, entry.value, entry.key, 0, headers=entry.headers)
        producer.flush(TIMEOUT)
        producer.send_offsets_to_transaction([offset], self._consumer.consumer_group_metadata(), TIMEOUT)
        producer.commit_transaction(TIMEOUT)

    def close(self) -> None:
        self._closing = True
        try:
            self._consumer.close()
        except KafkaException as error:
            _log.warning("consumer closed with an error", error=str(error))

    def _take_over(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._closing or not partitions:
            return
        try:
            self._shut_out_predecessor(consumer, partitions[0])
        except KafkaException as error:
            self._callback_error = error  # the client would lose it

    def _shut_out_predecessor(self, consumer: Consumer, place: TopicPartition) -> None:
        defaults = {
            "transaction.timeout.ms": 10_000,
            "linger.ms": 0,
            "retry.backoff.ms": 10,
            "enable.sparse.connections": False,
        }
        contract = {"transactional.id": self._route.controller_group, "enable.idempotence": True}
        producer = Producer(client_config(self._settings, defaults, contract))
        producer.init_transactions(30)  # ends and shuts out the predecessor, so that the offset below is its last
        committed = consumer.committed([place], TIMEOUT)[0]
        low, self.end = consumer.get_watermark_offsets(place, TIMEOUT)
        self.position = committed.offset if committed.offset >= 0 else low
        noted = re.fullmatch(r"replay=(\d+);held=(\d+)", committed.metadata or "")
        asked, self.held = (int(noted[1]), int(noted[2])) if noted else (self.position, 0)
        self.overran, self.replay_from = asked < low, max(low, min(asked, self.position))
        self.next = self.replay_from
        consumer.assign([TopicPartition(self._topic, _PARTITION, self.replay_from)])
        self._producer = producer
        self.term += 1
        _log.info("controller", route=self._route.name, position=self.position, replay_from=self.replay_from)

    def _give_up(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        del partitions
        self._producer = None
        consumer.unassign()
