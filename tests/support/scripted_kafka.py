"""Stand-ins for confluent_kafka's Consumer and Producer that play a script of what a broker can do to us.

Behind them stands as little of a broker as it takes to ask afterwards what a read_committed reader sees: logs with
transaction markers, the groups' offsets, and one writer a transactional id. Guarantees are not shown here but in the
scenarios, on a real broker.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial, wraps
from operator import methodcaller
from typing import Any, Final

from confluent_kafka import (
    OFFSET_INVALID,
    TIMESTAMP_LOG_APPEND_TIME,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

Step = Callable[[Any, Callable[[], Any]], Any]
"""Stands in for one call of a client: it is given the client and the call itself, see kafka_script."""

# ruff: noqa: SLF001 - librdkafka's own codes are spelt so
_MOST_CALLS: Final = 20_000
_NAMES: Final = {"_poll": "consume", "_read": "read"}
"""A member's polls and the reads of clients without a group have scripts of their own."""

_EDGE: Final = "stream_router.adapters.kafka"


def kafka_error(code: int, *, fatal: bool = False, retriable: bool = False) -> KafkaError:
    return KafkaError(code, f"scripted {KafkaError(code).name()}", fatal, retriable)


class ScriptedKafka:
    """The broker and the script. A call without a step of its own does what the broker would do."""

    def __init__(self, monkeypatch: Any) -> None:
        self.calls: list[str] = []
        self.logs: dict[tuple[str, int], list[Message | None]] = defaultdict(list)
        self.starts: dict[tuple[str, int], int] = defaultdict(int)
        self.offsets: dict[tuple[str, str, int], TopicPartition] = {}
        self.writers: dict[str, ScriptedProducer] = {}
        self._script: dict[str, deque[Step]] = defaultdict(deque)
        self.drained = False
        self.clock: int | None = None
        """Tells writers when their records were appended, in milliseconds since the epoch."""
        self.written_at = 1_000
        """The timestamp of records that come without."""
        self.one_at_a_time = threading.RLock()
        self._grown = threading.Condition()
        monkeypatch.setattr(f"{_EDGE}.clients.Consumer", partial(ScriptedConsumer, self))
        monkeypatch.setattr(f"{_EDGE}.clients.Producer", partial(ScriptedProducer, self))
        monkeypatch.setattr(f"{_EDGE}.loop._PAUSE", 0.0)
        # A record may stand in for one that the client cannot read.
        monkeypatch.setattr(f"{_EDGE}.record_headers._of_each", methodcaller("headers"))
        # A step of the script is a whole poll.
        monkeypatch.setattr(f"{_EDGE}.polling._fetch", lambda consumer, count, wait, _: consumer.consume(count, wait))

    def script(self, call: str, *steps: Step) -> None:
        """The next calls of this name, of any client."""
        self._script[call].extend(steps)

    def fill(self, topic: str, *values: bytes | None, partition: int = 0, **fields: Any) -> None:
        """Records that others have written; `fields` as of Message."""
        for value in values:
            self.append((topic, partition), {"value": value, **fields})

    def forget_script(self, keep: Sequence[str] = ()) -> None:
        for call in self._script.keys() - set(keep):
            self._script[call].clear()

    def append(self, log: tuple[str, int], fields: dict[str, Any] | None) -> None:
        """A record, or the marker that ends a transaction."""
        given = {"timestamp": (1, self.written_at), **(fields or {})}
        self.logs[log].append(None if fields is None else Message(*log, len(self.logs[log]), **given))
        with self._grown:
            self._grown.notify_all()

    def wait_for_more(self, seconds: float) -> None:
        with self._grown:
            self._grown.wait(seconds)

    def records(self, topic: str) -> list[Message]:
        """What a read_committed reader sees, partition by partition."""
        logs = sorted((log, records) for log, records in self.logs.items() if log[0] == topic)
        return [record for _, records in logs for record in records if record is not None]

    def values(self, topic: str) -> list[bytes | None]:
        return [record.value() for record in self.records(topic)]

    def offset(self, group: str, topic: str, partition: int = 0) -> int | None:
        committed = self.offsets.get((group, topic, partition))
        return committed and committed.offset

    def idle(self) -> bool:
        """Whether the script of polls has been played and the last poll brought nothing."""
        return self.drained and not self._script["consume"]

    def played(self, *calls: str) -> bool:
        """Whether no step of these calls waits any more."""
        return not any(self._script[call] for call in calls)

    def play(self, name: str, client: Any, call: Callable[[], Any]) -> Any:
        self.calls.append(name)
        assert len(self.calls) < _MOST_CALLS, "the code under test goes round and round"
        script = self._script[name]
        return script.popleft()(client, call) if script else call()


def _scripted(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def played(self: Any, *arguments: Any, **keywords: Any) -> Any:
        def call() -> Any:
            with self.kafka.one_at_a_time:
                return method(self, *arguments, **keywords)

        return self.kafka.play(_NAMES.get(method.__name__, method.__name__), self, call)

    return played


class ScriptedConsumer:
    """Fetches partition by partition what lies at its positions; rebalances are steps of the script."""

    def __init__(self, kafka: ScriptedKafka, config: dict[str, Any]) -> None:
        self.kafka, self.config, self.group = kafka, config, config["group.id"]
        self.positions: dict[tuple[str, int], int] = {}
        self._told: dict[tuple[str, int], int] = {}
        self._topic, self._callbacks = "", dict[str, Callable[[Any, list[TopicPartition]], None]]()

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        (self._topic,), self._callbacks = topics, callbacks

    def rebalance(self, callback: str, partitions: Iterable[int]) -> None:
        self._callbacks[callback](self, [TopicPartition(self._topic, partition) for partition in partitions])

    def consume(self, count: int, timeout: float) -> list[Message]:
        if self._callbacks:
            return self._poll(count, timeout)
        fetched = self._read(count)
        if not fetched and timeout > 0:
            self.kafka.wait_for_more(timeout)
        return fetched

    @_scripted
    def _poll(self, count: int, _timeout: float) -> list[Message]:
        """Of a group's member."""
        fetched = self._fetched(count)
        self.kafka.drained = not fetched
        return fetched

    @_scripted
    def _read(self, count: int) -> list[Message]:
        """Of a client without a group."""
        return self._fetched(count)

    def _fetched(self, count: int) -> list[Message]:
        fetched: list[Message] = []
        for log in list(self.positions):
            fetched += self._fetch(log, count - len(fetched))
        return fetched

    def _fetch(self, log: tuple[str, int], count: int) -> list[Message]:
        held, position = self.kafka.logs[log], max(self.positions[log], 0)
        if position < self.kafka.starts[log] or position > len(held):
            return [Message(*log, position, error=kafka_error(KafkaError._AUTO_OFFSET_RESET))]
        fetched: list[Message] = []
        while position < len(held) and len(fetched) < count:
            fetched += [record for record in (held[position],) if record is not None]
            position += 1
        self.positions[log] = position
        if position == len(held) and self.config.get("enable.partition.eof") and self._told.get(log) != position:
            self._told[log] = position
            fetched.append(Message(*log, position, error=kafka_error(KafkaError._PARTITION_EOF)))
        return fetched

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(*log) for log in self.positions]

    @_scripted
    def incremental_assign(self, partitions: Sequence[TopicPartition]) -> None:
        self.positions |= {(at.topic, at.partition): at.offset for at in partitions}

    @_scripted
    def incremental_unassign(self, partitions: Sequence[TopicPartition]) -> None:
        for at in partitions:
            del self.positions[at.topic, at.partition]

    @_scripted
    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self._told = {}
        self.positions = {(at.topic, at.partition): at.offset for at in partitions}

    @_scripted
    def unassign(self) -> None:
        self.positions = {}

    @_scripted
    def seek(self, to: TopicPartition) -> None:
        if (to.topic, to.partition) not in self.positions:
            raise KafkaException(kafka_error(KafkaError._STATE))
        self.positions[to.topic, to.partition] = to.offset

    @_scripted
    def committed(self, partitions: Sequence[TopicPartition], _timeout: float) -> list[TopicPartition]:
        found = []
        for at in partitions:
            held = self.kafka.offsets.get((self.group, at.topic, at.partition))
            offset, metadata = (held.offset, held.metadata) if held else (OFFSET_INVALID, "")
            found.append(TopicPartition(at.topic, at.partition, offset, metadata or ""))
        return found

    @_scripted
    def get_watermark_offsets(self, at: TopicPartition, _timeout: float) -> tuple[int, int]:
        return self.kafka.starts[at.topic, at.partition], len(self.kafka.logs[at.topic, at.partition])

    @_scripted
    def offsets_for_times(self, times: Sequence[TopicPartition], _timeout: float) -> list[TopicPartition]:
        found = []
        for at in times:
            later = (r.offset() for r in self.kafka.logs[at.topic, at.partition] if r and r.timestamp()[1] >= at.offset)
            found.append(TopicPartition(at.topic, at.partition, next(later, -1)))
        return found

    def consumer_group_metadata(self) -> str:
        return self.group

    @_scripted
    def commit(self, *, offsets: Sequence[TopicPartition], asynchronous: bool) -> None:
        assert not asynchronous
        self.kafka.offsets |= {(self.group, at.topic, at.partition): at for at in offsets}

    @_scripted
    def close(self) -> None:
        if self.positions and self._callbacks:
            self.rebalance("on_revoke", [partition for _, partition in self.positions])


class ScriptedProducer:
    """What was produced is there once it was flushed, or with a transactional id once it was committed."""

    def __init__(self, kafka: ScriptedKafka, config: dict[str, Any]) -> None:
        self.kafka, self.config, self.id = kafka, config, config.get("transactional.id")
        self._open = False
        self._produced: list[tuple[tuple[str, int], dict[str, Any]]] = []
        self._offsets: dict[tuple[str, str, int], TopicPartition] = {}

    @_scripted
    def produce(  # by order, as confluent_kafka has them
        self, topic: str, value: Any, key: Any, partition: int, report: Any, _report: None, timestamp: int, headers: Any
    ) -> None:
        if self.id and not self._open:
            raise KafkaException(kafka_error(KafkaError._STATE))
        headers = [(name, content) for name, content in headers or ()]
        fields = {"value": value, "key": key, "headers": headers, "timestamp": (1, timestamp)}
        self._produced.append(((topic, max(partition, 0)), fields))
        if report and self.kafka.clock is not None:  # told before the flush, which makes no difference to who asks then
            report(None, Message(topic, partition, 0, timestamp=(TIMESTAMP_LOG_APPEND_TIME, self.kafka.clock)))

    def poll(self, _timeout: float) -> int:
        return 0

    @_scripted
    def flush(self, _timeout: float) -> int:
        if self.id is None:
            self._write()
        return 0

    @_scripted
    def init_transactions(self, _timeout: float) -> None:
        self.kafka.writers[self.id] = self

    @_scripted
    def begin_transaction(self) -> None:
        self._must_be(open_=False)
        self._open = True

    @_scripted
    def send_offsets_to_transaction(self, offsets: Sequence[TopicPartition], group: str, _timeout: float) -> None:
        self._must_be(open_=True)
        self._offsets |= {(group, at.topic, at.partition): at for at in offsets}

    @_scripted
    def commit_transaction(self, _timeout: float) -> None:
        self._must_be(open_=True)
        self._open = False
        self.kafka.offsets |= self._offsets
        for log in self._write():
            self.kafka.append(log, None)
        self._offsets = {}

    @_scripted
    def abort_transaction(self, _timeout: float) -> None:
        self._must_be(open_=True)
        self._open = False
        for log in dict.fromkeys(log for log, _ in self._produced):
            self.kafka.append(log, None)
        self._produced, self._offsets = [], {}

    def forget(self) -> None:
        """Drop what was produced and not yet flushed."""
        self._produced = []

    def _must_be(self, *, open_: bool) -> None:
        if self.kafka.writers.get(self.id) is not self:
            raise KafkaException(kafka_error(KafkaError._FENCED, fatal=True))
        if self._open is not open_:
            raise KafkaException(kafka_error(KafkaError._STATE))

    def _write(self) -> list[tuple[str, int]]:
        """Returns the logs written to."""
        for log, fields in self._produced:
            self.kafka.append(log, fields)
        written, self._produced = list(dict.fromkeys(log for log, _ in self._produced)), []
        return written
