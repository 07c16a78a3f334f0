"""Faust that delivers a fetched chunk as one event, reads committed records only, and seeks where it is told to.

Stock Faust spends its time per message: 4 thousand joins/s against 165 thousand with chunks, measured. All that is here
rests on internals of faust-streaming 0.15.3, hence the exact pin; the scenario tests of the monitor guard it.
"""

# ruff: noqa: SLF001 - internals are what this module is about

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

import faust
from aiokafka.errors import IllegalStateError
from aiokafka.protocol.group import HeartbeatRequest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from stream_router.adapters.faust import records

_GATHER: Final = 0.03
"""Seconds to let records gather before a fetch while many come: fewer, larger chunks."""

_MANY: Final = 500
"""Records that one fetch brought, from which on the next one is not put off: there are more than wait can gather."""

_FETCH: Final = 65_536
"""Bytes for which the broker waits a little: answers for a few records each cost more than what is in them."""

_BROKER_WAITS: Final = 100
"""Milliseconds for that, at most; Faust's 1500 holds back a fetch after a seek on the same connection."""


class Chunk(NamedTuple):
    """Records of one partition, perhaps none: offset, timestamp, timestamp_type, key, value and headers of each.

    `start` and `position` are the fetch positions before and behind them, also past transaction markers and aborted
    records, which no chunk shows; `seek` is the number of the seek under which they were read. A chunk can be lost on
    its way through Faust (a fetch whose caller a rebalance has cancelled): then the next one's `start` is not the
    `position` of the one before, and its reader has to seek back. Where the log began behind `start` by then, reading
    went on at `skipped_to`, else None.
    """

    records: Sequence[Any]
    start: int
    position: int
    seek: int
    skipped_to: int | None = None


class Listener(Protocol):
    """What an application wants to know about its partitions."""

    def on_assigned(self, assigned: set[TP]) -> None:
        """All partitions that the group's new generation gives us."""

    async def on_resume(self) -> None:
        """Faust's last act of a rebalance: partitions are paused until they are sought."""

    def patience(self) -> float:
        """Seconds for which records may gather before a fetch while few come, since each chunk has its price."""


class ChunkApp(faust.App):  # type: ignore[misc]  # Faust has no types for us
    """A Faust app whose topics bring one Chunk an event; create their channels with `chunks`."""

    listener: Listener
    _seeks = itertools.count(1)

    def _create_directories(self) -> None:
        """None: without tables nothing is stored."""

    def _new_transport(self) -> Any:
        records.install()
        return _Transport(self.conf.broker_consumer, self)

    def chunks(self, topic: str) -> Any:
        """The topic as a channel of chunks. Faust commits no offsets of it."""
        return self.topic(topic, schema=_ChunkSchema(), acks=False)

    async def is_ours(self, partitions: set[TP]) -> bool:
        """Whether the group confirms, now, that the generation that gave us the partitions is the one in force."""
        thread = self.consumer._thread
        return bool(
            not self.rebalancing
            and partitions <= self.consumer.assignment()
            and await thread.call_thread(thread.heartbeat, self.consumer_generation_id)
            and not self.rebalancing
        )

    def next_seek(self) -> int:
        """The number of a seek to come, from 1; from now on chunks of an earlier one are out of date."""
        return next(self._seeks)

    async def seek(self, offsets: Mapping[TP, int], number: int) -> None:
        """Read on from these offsets; the chunks will carry the number. Raises KafkaError if we do not own them."""
        thread = self.consumer._thread
        await thread.call_thread(thread.seek_numbered, offsets, number)
        self.consumer.resume_partitions(set(offsets))

    async def stable_ends(self, partitions: set[TP]) -> dict[TP, int]:
        """The last stable offset of each partition."""
        ends: dict[TP, int] = await self.consumer.highwaters(*partitions)
        return ends


class _Thread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # as above
    """What has to happen in the thread of Faust's consumer."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # Faust's own choice unless it runs its exactly_once: uncommitted
        consumer._partition_assignment_strategy = [self.app.assignor]  # round robin would part the two inputs
        consumer._fetch_max_wait_ms = _BROKER_WAITS
        consumer._fetch_min_bytes = _FETCH
        return consumer

    def let_gather(self, seconds: float) -> None:
        """How long the broker may let records gather for the fetches to come."""
        self._consumer._fetcher._fetch_max_wait_ms = min(_BROKER_WAITS, round(seconds * 1000))

    @property
    def _states(self) -> Any:
        return self._consumer._subscription.subscription.assignment._tp_state

    async def _fetch_records(self, consumer: Any, active: Any, timeout: Any = None, max_records: Any = None) -> Any:  # noqa: ARG002, ASYNC109 - Faust's signature
        fetched = await super()._fetch_records(consumer, active, 0.1, max_records)
        # No await from here on: records, position and number of the seek belong together.
        chunks = {}
        for tp in active:
            state = self._states.get(tp)
            if hasattr(state, "seek_number") and state.has_valid_position:
                chunks[tp] = Chunk(
                    fetched.get(tp, ()), state.handed_over, state.position, state.seek_number, state.skipped_to
                )
                state.handed_over, state.skipped_to = state.position, None
        return chunks

    async def seek_numbered(self, offsets: Mapping[TP, int], number: int) -> None:
        if missing := set(offsets) - self._consumer._subscription.assigned_partitions():
            raise IllegalStateError(f"not assigned: {missing}")
        for tp, offset in offsets.items():
            self._consumer.seek(tp, offset)
            state = self._states[tp]  # ends with the assignment, as the position does
            state.seek_number, state.handed_over, state.skipped_to = number, offset, None
            state.reset_to = partial(_skip, state)

    async def heartbeat(self, generation: int) -> bool:
        """Ask the group; what follows from the answer is left to aiokafka's own heartbeat."""
        group = self._consumer._coordinator
        if group.generation != generation:
            return False
        answer = await group._send_req(HeartbeatRequest(group.group_id, generation, group.member_id))
        return bool(answer.error_code == 0 and group.generation == generation)


def _skip(state: Any, offset: int) -> None:
    """What lay at the position is deleted: aiokafka goes on at the log's start, and says so to nobody."""
    type(state).reset_to(state, offset)
    state.skipped_to = offset


class _Consumer(driver.Consumer):  # type: ignore[misc]  # as above
    def _new_consumer_thread(self) -> Any:
        self._told: dict[TP, tuple[int, int]] = {}
        self._many = False
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.app.listener.on_assigned(assigned)  # here, since with no partition perform_seek is not called
        await super().on_partitions_assigned(assigned, generation_id)

    async def perform_seek(self) -> None:
        """Ours instead of Faust's seek to the group's offsets, which would overwrite any earlier one."""
        self.pause_partitions(self.assignment())
        await self.app.listener.on_resume()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109 - Faust's signature
        patience = max(_GATHER, self.app.listener.patience())
        self._thread.let_gather(patience)
        await self.sleep(_GATHER if self._many else patience)
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        generation = self.app.consumer_generation_id
        active = frozenset(self._active_partitions)  # Faust's own set changes meanwhile, and if empty means: take all
        chunks = await self._getmany(active, timeout) if active else {}
        self._many = sum(len(chunk.records) for chunk in chunks.values()) >= _MANY
        for tp, chunk in chunks.items():
            if self.should_stop or not self.flow_active or self.app.consumer_generation_id != generation:
                return
            if self._told.get(tp) != (chunk.position, chunk.seek):  # a position may move without records
                self._told[tp] = chunk.position, chunk.seek
                self._read_offset[tp] = None  # else Faust's guard against repeats may drop what a seek back brings
                yield (
                    tp,
                    ConsumerMessage(
                        *tp, chunk.position - 1, 0.0, 0, (), None, chunk, None, 0, 0, tp, generation_id=generation
                    ),
                )

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Offsets inside a chunk are no gaps."""


class _Transport(driver.Transport):  # type: ignore[misc]  # as above
    Consumer = _Consumer


class _ChunkSchema(faust.Schema):  # type: ignore[misc]  # as above
    """The value is a Chunk already."""

    def loads_value(self, app: Any, message: Any, **_: Any) -> Any:  # noqa: ARG002 - Faust's signature
        return message.value

    def loads_key(self, app: Any, message: Any, **_: Any) -> Any:  # noqa: ARG002 - as above
        return None
