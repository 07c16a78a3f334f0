"""A loop that copies a topic, on scripted clients."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from confluent_kafka import Message
from support.scripted_kafka import ScriptedKafka

from stream_router.adapters.kafka.handler import Handler, LoopConfig
from stream_router.adapters.kafka.loop import TransactionLoop
from stream_router.adapters.kafka.polling import Record
from stream_router.adapters.kafka.transaction import Transaction
from stream_router.errors import DecodeError
from stream_router.settings import Settings

SOURCE, OUT, DEAD, GROUP = "source", "out", "dead", "group"

H = TypeVar("H", bound=Handler)


class Copy:
    """Handler of a loop: copies values; one that is missing or begins with "poison" is a dead letter."""

    def __init__(self) -> None:
        self.done = 0

    def due(self) -> bool:
        return False

    def handle(self, records: Sequence[Record], transaction: Transaction) -> None:
        for index, record in enumerate(records):
            value = record.value()
            if value is None or value.startswith(b"poison"):
                transaction.divert(record, index, DecodeError("nothing to copy"), record.headers())
            else:
                transaction.produce(OUT, value, record.key(), record.partition(), 0, record.headers())
        transaction.on_commit(lambda: self._count(len(records)))

    def _count(self, records: int) -> None:
        self.done += records


def loop_config(**given: Any) -> LoopConfig:
    """Each batch is a transaction, where `interval` is not given."""
    defaults = {
        "topic": SOURCE,
        "group": GROUP,
        "instance": "me",
        "dead_letters": DEAD,
        "stage": "copy",
        "interval": 0.0,
        "max_wait": 0.0,
    }
    return LoopConfig(**(defaults | given))


def run_handler(kafka: ScriptedKafka, handler: H, settings: Settings | None = None, **config: Any) -> H:
    """Run a loop until its script has been played and all was read."""
    stop: Callable[[], bool] = kafka.idle
    TransactionLoop(settings or Settings(), loop_config(**config), handler).run(stop)
    return handler


def run_loop(kafka: ScriptedKafka, settings: Settings | None = None, **config: Any) -> Copy:
    return run_handler(kafka, Copy(), settings, **config)


def run_until_copied(kafka: ScriptedKafka, handler: Copy | None = None, **config: Any) -> Copy:
    """Run a loop until all is copied and committed, whatever of the script is left."""
    handler = handler or Copy()
    TransactionLoop(Settings(), loop_config(**config), handler).run(lambda: not source_faults(kafka))
    return handler


def source_faults(kafka: ScriptedKafka) -> list[str]:
    """Where committed output, with the dead letters, is not the source: in order, nothing lost, nothing doubled."""
    faults, diverted = [], [where_from(letter) for letter in kafka.records(DEAD)]
    if len(diverted) != len(set(diverted)):
        faults.append(f"diverted twice: {sorted(diverted)}")
    for (topic, partition), records in list(kafka.logs.items()):
        if topic != SOURCE:
            continue
        sent = [record for record in records if record is not None]
        wanted = [record.value() for record in sent if (partition, record.offset()) not in diverted]
        copied = [record.value() for record in kafka.records(OUT) if record.partition() == partition]
        if copied != wanted:
            faults.append(f"partition {partition}: {wanted} became {copied}")
        if kafka.offset(GROUP, SOURCE, partition) != len(records):
            faults.append(f"partition {partition} is committed up to {kafka.offset(GROUP, SOURCE, partition)}")
    return faults


def where_from(letter: Message) -> tuple[int, int]:
    """Partition and offset of the record that became this dead letter."""
    headers = dict(letter.headers())
    return int(headers["__connect.errors.partition"]), int(headers["__connect.errors.offset"])
