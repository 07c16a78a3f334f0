"""What runs inside a transaction loop: its configuration and its handler."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from stream_router.adapters.kafka.group import Start
from stream_router.adapters.kafka.polling import Record
from stream_router.adapters.kafka.transaction import Transaction

Delivery = Literal["exactly-once", "at-least-once"]


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """One consumer group's loop over one topic.

    `instance` names this process among the group's: a restart under the same name takes its partitions over at once
    and shuts its predecessor out. `max_wait` (seconds from its first record) and `max_batch` bound a batch. A
    transaction is one batch while the process keeps up; while batches are full it stays open for `interval` seconds.
    `slow` is for a handler that may take seconds: Kafka's transaction then begins only with its commit. `limit`:
    records after which the loop ends.
    """

    topic: str
    group: str
    instance: str
    dead_letters: str
    stage: str
    start: Start = "earliest"
    max_batch: int = 5_000
    max_wait: float = 0.01
    interval: float = 0.2
    delivery: Delivery = "exactly-once"
    max_message_bytes: int = 2_000_000
    static_member: bool = True
    slow: bool = False
    limit: int | None = None


class Unfinished(Exception):  # noqa: N818 - no fault of anybody's
    """A handler was told to stop and left its batch to whoever reads on from the group's offsets."""


class Handler(Protocol):
    """What a process does with its records, inside the loop's transaction."""

    def handle(self, records: Sequence[Record], transaction: Transaction) -> None:
        """Produce what follows from a batch; what must wait for the commit hangs on the transaction.

        Raises Unfinished, which ends the loop.
        """

    def due(self) -> bool:
        """Whether a transaction is wanted although no record came."""
