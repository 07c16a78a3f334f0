"""As much of confluent_kafka's AdminClient as looks at lanes, over the logs of ScriptedKafka."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec
from support.scripted_kafka import ScriptedKafka, kafka_error

_EARLIEST, _LATEST = OffsetSpec.earliest()._value, OffsetSpec.latest()._value  # noqa: SLF001 - as the client reads them


class ScriptedAdmin:
    """`members` by group: one that has none is unknown to the broker, as a new one is."""

    def __init__(self, kafka: ScriptedKafka) -> None:
        self.kafka = kafka
        self.members: dict[str, int] = {}
        self.fails: KafkaException | None = None

    def list_offsets(self, wanted: dict[TopicPartition, OffsetSpec], **_: Any) -> dict[TopicPartition, Future[Any]]:
        return {at: self._future(SimpleNamespace(offset=self._offset(at, spec))) for at, spec in wanted.items()}

    def _offset(self, at: TopicPartition, spec: OffsetSpec) -> int:
        log, start = self.kafka.logs[at.topic, at.partition], self.kafka.starts[at.topic, at.partition]
        if spec._value == _EARLIEST:  # noqa: SLF001 - likewise
            return start
        if spec._value == _LATEST:  # noqa: SLF001 - likewise
            return len(log)
        later = (record.offset() for record in log if record and record.timestamp()[1] >= spec._value)  # noqa: SLF001
        return next(later, -1)

    def list_consumer_group_offsets(
        self, asked: list[ConsumerGroupTopicPartitions], *, require_stable: bool, **_: Any
    ) -> dict[str, Future[Any]]:
        assert not require_stable, "would wait for transactions, and make others wait"
        (group,) = asked
        found = []
        for at in group.topic_partitions:
            held = self.kafka.offsets.get((group.group_id, at.topic, at.partition))
            found.append(TopicPartition(at.topic, at.partition, held.offset if held else -1001))
        return {group.group_id: self._future(ConsumerGroupTopicPartitions(group.group_id, found))}

    def describe_consumer_groups(self, groups: list[str], **_: Any) -> dict[str, Future[Any]]:
        (group,) = groups
        if group not in self.members:
            unknown: Future[Any] = Future()
            unknown.set_exception(KafkaException(kafka_error(KafkaError.GROUP_ID_NOT_FOUND)))
            return {group: unknown}
        return {group: self._future(SimpleNamespace(members=[object()] * self.members[group]))}

    def _future(self, result: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        if self.fails:
            future.set_exception(self.fails)
        else:
            future.set_result(result)
        return future
