"""A route's controller on a scripted Kafka and a fake Redis, with the evidence of a canary that is bad."""

import threading
from collections.abc import Callable
from typing import Any, Final

from support.evidence import POLICY, Simulation
from support.kafka_script import assigned, first
from support.scripted_kafka import ScriptedKafka

from stream_router.adapters.avro.evidence import decode_evidence, encode_evidence
from stream_router.adapters.avro.records import (
    decode_rollout_event,
    decode_windowed_accuracy,
    encode_rollout_event,
    encode_split,
)
from stream_router.adapters.kafka import controller_log
from stream_router.adapters.kafka.control_topics import ControlTopics
from stream_router.adapters.kafka.controller_log import ControllerLog
from stream_router.adapters.kafka.dead_letters import CountedOnce, DeadLetters
from stream_router.core.dead_letter import DeadLetterLimit
from stream_router.core.deciding.windows import WindowedAccuracy
from stream_router.core.evidence import Evidence
from stream_router.core.lane import Lane
from stream_router.core.rollout.lane_look import LaneLook, Wanted
from stream_router.core.rollout.rollout_event import ROLLBACK, VERDICT, RolloutEvent
from stream_router.core.route import Route
from stream_router.core.routing.applied_split import AppliedSplit, Versions
from stream_router.processes import controller, telling
from stream_router.processes.controller import ControllerTerm
from stream_router.processes.lane_watch import LaneWatch
from stream_router.processes.leading import Stores
from stream_router.processes.snapshots import Snapshots
from stream_router.settings import Settings
from stream_router.testing import FakeSplitStore
from stream_router.testing.job_store import FakeJobStore
from stream_router.testing.router_store import FakeRouterStore

ROUTE: Final = Route("r")
EVIDENCE: Final = ROUTE.topic("evidence")
STATE: Final = ROUTE.topic("verdict-state")
SPLIT: Final = AppliedSplit(
    raw=b'{"stable": 0.7, "canary": 0.3}', canary=0.3, epoch=1, rollout=1, bound=Versions("v1", "v2")
)
RECORDS: Final = [encode_evidence(record) for record in Simulation(seed=1, seconds=40).records()]
VERDICT_AT: Final = 60
"""Offset of the record at which the canary is called unhealthy."""


class World:
    """Small reads, so that a term has many turns; positions are committed at every turn."""

    def __init__(self, monkeypatch: Any) -> None:
        self.kafka, self.store = ScriptedKafka(monkeypatch), FakeSplitStore(ROUTE)
        self.lanes = Lanes()
        self.watch = LaneWatch(self.lanes)
        monkeypatch.setattr(controller_log, "_COUNT", 10)
        monkeypatch.setattr(controller, "_WRITE_EVERY", 0.0)
        monkeypatch.setattr(controller, "_AFTER_ERROR", 0.0)
        monkeypatch.setattr(telling, "_EVERY", 0.0)
        monkeypatch.setattr(controller.LaneWatch, "begun", lambda *_: self.watch)
        monkeypatch.setattr(controller, "RedisSplitStore", lambda *_: self.store)
        monkeypatch.setattr(controller, "RedisJobStore", lambda *_: FakeJobStore())
        monkeypatch.setattr(controller, "RedisRouterStore", lambda *_: FakeRouterStore())
        monkeypatch.setattr(controller, "partition_count", lambda *_: 2)
        self.store.keys.applied, self.store.keys.split = SPLIT, SPLIT.raw
        self.kafka.fill(ROUTE.topic("splits"), encode_split(SPLIT))
        dead_letters = DeadLetters(ROUTE.topic("dead-letters"), "monitor", DeadLetterLimit(1.0, 10))
        self.dead_letters = CountedOnce(dead_letters)
        self.term = self.new_term()

    def new_term(self) -> ControllerTerm:
        settings = Settings()
        self.log = ControllerLog(settings, ROUTE)
        topics, snapshots = ControlTopics(settings, ROUTE), Snapshots(settings, ROUTE)
        self.term = ControllerTerm(
            ROUTE,
            self.log,
            topics,
            snapshots,
            Stores(self.store, FakeJobStore(), FakeRouterStore()),
            self.dead_letters,
            self.watch,
            policy=POLICY,
            partitions=2,
            who="me",
        )
        return self.term

    def happens(self, *values: bytes | None) -> None:
        """The owners write evidence."""
        self.kafka.fill(EVIDENCE, *values)

    def serve(self, *polls: Callable[..., Any]) -> None:
        """A term that is elected at once, until all was read and the script of polls played."""
        self.kafka.script("consume", *(polls or (first(assigned(0)),)))
        self.term.serve(self.kafka.idle)
        self.term.close()

    def control(self, *polls: Callable[..., Any], **settings: Any) -> None:
        """Terms one after another, until all was read and the script of polls played."""
        self.kafka.script("consume", *polls)
        controller.control(Settings(**settings), ROUTE, POLICY, "me", Idle(self.kafka))

    def has_rolled_back(self, rollout: int) -> None:
        """A predecessor has written it to Kafka, and no more."""
        event = RolloutEvent(
            kind=ROLLBACK, rollout=rollout, epoch=1, digest="", verdict="unhealthy", reason="worse", decided_at=1
        )
        self.kafka.fill(ROUTE.topic("rollout-events"), encode_rollout_event(event))

    @property
    def rollbacks(self) -> list[RolloutEvent]:
        return [event for event in self.events if event.kind == ROLLBACK]

    @property
    def verdicts(self) -> list[RolloutEvent]:
        return [event for event in self.events if event.kind == VERDICT]

    @property
    def events(self) -> list[RolloutEvent]:
        return [decode_rollout_event(value) for value in self.kafka.values(ROUTE.topic("rollout-events"))]

    @property
    def windows(self) -> dict[bytes, WindowedAccuracy]:
        """What a compacted topic holds."""
        records = self.kafka.records(ROUTE.topic("windowed-accuracy"))
        return {record.key(): decode_windowed_accuracy(record.value()) for record in records}

    @property
    def controls(self) -> list[Evidence]:
        """What the controller itself wrote to R.evidence."""
        written = []
        for value in self.kafka.values(EVIDENCE):
            if value not in (b"nonsense", None):
                record = decode_evidence(value)
                written += [record] if record.by == "me" else []
        return written

    @property
    def position(self) -> int | None:
        return self.kafka.offset(ROUTE.controller_group, EVIDENCE)

    @property
    def metadata(self) -> str:
        return str(self.kafka.offsets[ROUTE.controller_group, EVIDENCE, 0].metadata)


class Lanes:
    """What is found in the lanes: nothing that waits, unless a test says so."""

    def __init__(self) -> None:
        self.unanswered: dict[Lane, int] = {}
        self.members: dict[Lane, int] = {}

    def look(self, lane: Lane, wanted: Wanted, _now: int) -> LaneLook:
        unanswered = self.unanswered.get(lane, 0)
        return LaneLook(
            lane=lane,
            rollout=wanted.rollout,
            unanswered=unanswered,
            oldest_routed_at=1_000 if unanswered else 0,
            behind=unanswered,
            members=self.members.get(lane, 1),
        )


class Idle(threading.Event):
    """Set once the script of polls has been played and all was read."""

    def __init__(self, kafka: ScriptedKafka) -> None:
        super().__init__()
        self._kafka = kafka

    def is_set(self) -> bool:
        return self._kafka.idle()
