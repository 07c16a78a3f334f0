"""An owner of an input partition on a scripted Kafka, with a scripted Faust that brings it chunks."""

import asyncio
import functools
import itertools
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, NamedTuple

from aiokafka.errors import IllegalStateError
from faust.types import TP
from support.scripted_kafka import ScriptedKafka

from stream_router.adapters.avro.evidence import decode_evidence
from stream_router.adapters.avro.labels import encode_label
from stream_router.adapters.avro.records import encode_prediction
from stream_router.adapters.faust.chunks import Chunk
from stream_router.adapters.health import Health
from stream_router.adapters.kafka.dead_letters import DeadLetters
from stream_router.adapters.kafka.evidence_log import EvidenceLog
from stream_router.core.dead_letter import DeadLetterLimit
from stream_router.core.evidence import ACCURACY, ERROR, LABELLING, LATENCY, MODEL_LATENCY, PREDICTION, Evidence
from stream_router.core.joining import flush_schedule
from stream_router.core.policy import Policy
from stream_router.core.route import Route
from stream_router.core.scoring.prediction import Prediction
from stream_router.processes import flusher, known_splits, takeover
from stream_router.processes import owner as owner_module
from stream_router.processes.clock_check import ClockCheck
from stream_router.processes.intake import Intake
from stream_router.processes.known_splits import KnownSplits
from stream_router.processes.owner import Owner
from stream_router.processes.rows_on_disk import RowsOnDisk
from stream_router.processes.shared import Shared, Side
from stream_router.processes.tenure import Tenure
from stream_router.settings import Settings

ROUTE: Final = Route("r")
NOW: Final = 1_000_000
POLICY: Final = Policy(window=10_000, label_horizon=100_000, prediction_deadline=5_000)
TOPICS: Final[dict[Side, str]] = {
    "predictions": ROUTE.topic("predictions"),
    "ground_truth": ROUTE.topic("ground-truth"),
}
_LONGEST_WAIT: Final = 60.0


class Fetched(NamedTuple):
    """What an owner reads of a record that aiokafka has decoded."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_type: int = 0


class ScriptedApp:
    """Faust: says whether the group confirms a partition (`answers`, then always yes), seeks, and fetches chunks."""

    def __init__(self, kafka: ScriptedKafka) -> None:
        self._kafka = kafka
        self.answers: list[bool] = []
        self.confirms = True
        self.on_question: Callable[[], None] = lambda: None
        self.refused_seeks = 0
        self.asked = 0
        self.seeks: list[dict[TP, int]] = []
        self._numbers = itertools.count(1)
        self._position: dict[str, int] = {}
        self._number = 0

    async def is_ours(self, _partitions: set[TP]) -> bool:
        self.asked += 1
        self.on_question()
        return self.answers.pop(0) if self.answers else self.confirms

    def next_seek(self) -> int:
        return next(self._numbers)

    async def seek(self, offsets: dict[TP, int], number: int) -> None:
        if self.refused_seeks:
            self.refused_seeks -= 1
            raise IllegalStateError("not assigned")
        self.seeks.append(offsets)
        self._position, self._number = {tp.topic: offset for tp, offset in offsets.items()}, number

    def fetch(self, side: Side, most: int) -> Chunk:
        """The next records from the last seek on."""
        log = self._kafka.logs[TOPICS[side], 0]
        start, log_start = self._position[TOPICS[side]], self._kafka.starts[TOPICS[side], 0]
        first = max(start, log_start)
        end = self._position[TOPICS[side]] = min(first + most, len(log))
        records = [Fetched(r.offset(), r.timestamp()[1], r.key(), r.value()) for r in log[first:end] if r is not None]
        return Chunk(records, start, end, self._number, log_start if log_start > start else None)


class World:
    """One partition. Sleeps of the owner take no time, its clock is `now`; `time` is that of requests."""

    def __init__(self, monkeypatch: Any) -> None:
        self.kafka, self.now = ScriptedKafka(monkeypatch), NOW
        self.kafka.written_at = NOW
        monkeypatch.setattr(takeover, "_ASK_AGAIN", 0)
        monkeypatch.setattr(owner_module, "_AFTER_ERROR", 0)
        for wait in ("COUNTS_WAIT", "OUTCOMES_WAIT", "WATERMARK_EVERY", "WATERMARK_FOR_OUTCOMES"):
            monkeypatch.setattr(flush_schedule, wait, 0)
        monkeypatch.setattr(known_splits, "_APART", 0)
        monkeypatch.setattr(known_splits, "_AFTER_OUTAGE", 0)
        for module in (takeover, flusher):
            monkeypatch.setattr(module, "now_ms", lambda: self.now)
        self.log = EvidenceLog(Settings(), ROUTE)
        self.limit = DeadLetterLimit(1.0, 10)
        self.health = Health("the loop", {})
        self.requests, self.time = 0, NOW
        self.disk: RowsOnDisk | None = None
        self.tasks: list[asyncio.Future[None]] = []
        self.new_owner()

    def new_owner(self) -> None:
        """Another process's, with an app of its own."""
        self.app = ScriptedApp(self.kafka)
        dead_letters = DeadLetters(ROUTE.topic("dead-letters"), "join", self.limit)
        self.clock, self.splits = ClockCheck(ROUTE.name, self.health), KnownSplits(Settings(), ROUTE)
        shared = Shared(
            app=self.app,  # type: ignore[arg-type]
            log=self.log,
            policy=POLICY,
            worker="w",
            partitions=1,
            splits=self.splits,
            intake=Intake(dead_letters, POLICY, self.clock.broker_time),
            clock=self.clock,
            early_limit=1_000,
            disk=self.disk,
        )
        self.owner = Owner(shared, 0)
        self.flushing = False
        turn = self.owner._turn  # noqa: SLF001 - so that tests can wait for turns instead of time

        async def noted(tenure: Any) -> None:
            self.flushing = True
            try:
                await turn(tenure)
            finally:
                self.flushing = False

        self.owner._turn = noted  # type: ignore[method-assign]  # noqa: SLF001 - likewise

    def send(self, count: int = 1) -> None:
        """Requests with predictions and labels, all of them right; ids r0, r1 and so on."""
        for number in range(self.requests, self.requests + count):
            at = dict.fromkeys(("routed_at", "requested_at", "scored_at"), self.time)
            self.kafka.fill(TOPICS["predictions"], prediction(number, **at), timestamp=(1, self.time))
            label = encode_label(f"r{number}", value=True)
            self.kafka.fill(TOPICS["ground_truth"], label, timestamp=(1, self.time + 1_000))
        self.requests += count

    async def bring(self, side: Side, most: int = 1_000) -> None:
        await self.owner.on_chunk(side, self.app.fetch(side, most))

    async def bring_all(self) -> None:
        await self.bring("predictions")
        await self.bring("ground_truth")

    def pass_time(self, milliseconds: int) -> None:
        """The owner is offered a watermark up to which nothing comes any more."""
        self.time += milliseconds
        ends = {TP(topic, 0): len(self.kafka.logs[topic, 0]) for topic in TOPICS.values()}
        self.owner.offer_watermark(self.time, ends)

    async def until(self, predicate: Callable[[], object], what: str) -> None:
        """Other tasks go on until it is so; the clock decides only that a test has failed."""
        deadline = time.monotonic() + _LONGEST_WAIT
        while not predicate():
            assert time.monotonic() < deadline, f"never happened: {what}"
            for task in self.tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0)

    async def flushed(self) -> None:
        """All that the owner had to write is written."""
        await self.until(lambda: self._is_quiet(self.owner._tenure), "all to be written")  # noqa: SLF001 - likewise

    def _is_quiet(self, tenure: Tenure | None) -> bool:
        return tenure is not None and not self.flushing and tenure.due_at() == math.inf

    async def taken(self) -> None:
        """The owner holds the partition, and reads."""
        await self.until(lambda: self.owner.reads and self.app.seeks, "a takeover")

    async def read_all(self) -> None:
        """All that the inputs hold has been read and written."""
        await self.taken()
        await self.bring_all()
        await self.flushed()

    def start(self) -> None:
        self.tasks.append(asyncio.ensure_future(self.owner.run()))

    async def end(self) -> None:
        self.owner.drop()
        for task in self.tasks:
            await asyncio.wait_for(task, _LONGEST_WAIT)

    @property
    def evidence(self) -> list[Evidence]:
        return [decode_evidence(value) for value in self.kafka.values(ROUTE.topic("evidence"))]

    @property
    def watermarks(self) -> list[int]:
        return [record.watermark for record in self.evidence if record.watermark is not None]

    @property
    def committed(self) -> tuple[int | None, ...]:
        """The positions that a successor would begin at."""
        return tuple(self.kafka.offset(ROUTE.evidence_group, topic) for topic in TOPICS.values())

    def faults(self, *, matured: bool = False) -> list[str]:
        """Where the evidence is not: each request predicted once and labelled once, in one outcome of each kind.

        `matured`: also of LABELLING.
        """
        counts = [count for record in self.evidence for count in record.counts]
        columns = [outcomes for record in self.evidence for outcomes in record.outcomes]
        found = {
            "predicted": sum(count.predicted for count in counts),
            "labelled": sum(count.labelled for count in counts),
        }
        for kind in (ACCURACY, ERROR, PREDICTION, LATENCY, MODEL_LATENCY, LABELLING):
            orders = [order for column in columns if column.key.metric == kind for order in column.order.tolist()]
            if matured or kind != LABELLING:
                found |= {kind: len(orders), f"different {kind}": len(set(orders))}
        return [f"{name}: {number} of {self.requests}" for name, number in found.items() if number != self.requests]


def prediction(number: int, **fields: Any) -> bytes:
    """Of request rN; `fields` as of Prediction."""
    return encode_prediction(replace(_PREDICTION, **{"request_id": f"r{number}", **fields}))


_PREDICTION: Final = Prediction(
    request_id="",
    key=None,
    lane="canary",
    rollout=1,
    epoch=1,
    digest="0" * 12,
    routed_at=NOW,
    requested_at=NOW,
    scored_at=NOW,
    model_version="v1",
    model_digest=None,
    batch_id="b",
    batch_index=0,
    batch_size=1,
    model_seconds=0.0,
    value=True,
    error=None,
)


def driven(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test beside an owner that runs; at the end it is dropped, and has to end."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        world: World = fixtures["world"]

        async def play() -> None:
            world.start()
            try:
                await test(**fixtures)
            finally:
                await world.end()

        asyncio.run(play())

    return run
