"""The processes of a route, its producers, and what its topics and keys say."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from redis import Redis
from support.kafka import KafkaRecord, kafka_records
from support.load import Feeder
from support.policies import policy_with, variables
from support.processes import Command, Processes
from support.truth import Truth
from support.waiting import wait_until

from stream_router.adapters.avro.evidence import decode_evidence
from stream_router.adapters.avro.records import decode_prediction, decode_rollout_event
from stream_router.adapters.redis.fields import status_from_fields
from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.evidence import Evidence
from stream_router.core.lane import CANARY, STABLE
from stream_router.core.policy import Policy
from stream_router.core.rollout.rollout_event import ROLLBACK, RolloutEvent, rollback_event
from stream_router.core.rollout.status import RolloutStatus
from stream_router.core.scoring.prediction import Prediction

SHORT: Final[dict[str, Any]] = {"window": 1, "label_horizon": 5, "prediction_deadline": 10, "block_time": 2}
"""Settings of the route and of the policy, in seconds, so that a rollout is decided within some."""

PARTITIONS: Final = 4
POLICY = policy_with(**SHORT)


class Loop:
    """A route on real servers. `policy` and `kafka` have the settings with which processes are started from then on.

    `labelled` says of the number of a request whether it gets a label; it may be changed under traffic.
    """

    def __init__(self, stack, route, processes: Processes, redis: Redis) -> None:
        self.stack, self.route, self.processes, self.redis = stack, route, processes, redis
        self.feeder = Feeder(stack.bootstrap_servers, route.topic("requests"))
        self.truth = Truth(stack.bootstrap_servers, route.topic("ground-truth"))
        self.policy: dict[str, Any] = dict(SHORT)
        self.kafka: dict[str, str] = {}
        self.labelled: Callable[[int], bool] = lambda _: True
        self.jobs: dict[str, Command] = {}

    def start(self, stable: str, canary: str, *, stable_batch: int = 500) -> None:
        """All of them, with these versions of support.models; returns once both are registered."""
        self.monitor = self.start_monitor("a")
        self.start_route_and_jobs(stable, canary, stable_batch=stable_batch)

    def start_route_and_jobs(self, stable: str, canary: str, *, stable_batch: int = 500) -> None:
        """All but a monitor."""
        self.processes.start("route", "--route", self.route.name)
        self.start_job(STABLE, stable, stable_batch)
        self.start_job(CANARY, canary)
        wait_until(self._are_registered, 60, "both models to be registered")

    def _are_registered(self) -> bool:
        assert all(job.running() for job in self.jobs.values()), [job.stderr for job in self.jobs.values()]
        return len(self.redis.hgetall(self.route.key("models"))) == 2

    def start_job(self, lane: str, version: str, max_batch: int = 500) -> Command:
        model = ("--model", "support.models:load", "--model-version", version, "--max-batch", str(max_batch))
        flags = ("--route", self.route.name, "--lane", lane, *model)
        self.jobs[lane] = self.processes.start("score", *flags, **self.environment)
        return self.jobs[lane]

    def start_monitor(self, worker: str) -> Command:
        return self.processes.start("monitor", "--route", self.route.name, "--worker", worker, **self.environment)

    @property
    def environment(self) -> dict[str, str]:
        policy = variables(self.processes.folder / f"{self.route.name}.yaml", **self.policy)
        return {**policy, "STREAM_ROUTER_KAFKA": json.dumps(self.kafka), "PYTHONPATH": "tests"}

    @property
    def judged_by(self) -> Policy:
        return policy_with(**self.policy)

    @contextmanager
    def traffic(self, rate: int = 600) -> Iterator[None]:
        """Requests, each with its label half a second later."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(0.25):
                labelled = self.feeder.sent
                self.feeder.send(rate // 4)
                self.truth.send(max(0, labelled - rate // 4), labelled, self.labelled)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def set_split(self, canary: float) -> None:
        self.redis.set(self.route.key("split"), f'{{"stable": {1 - canary}, "canary": {canary}}}')

    def applied(self, field: str) -> str:
        return (self.redis.hget(self.route.key("applied"), field) or b"").decode()

    def status(self) -> RolloutStatus | None:
        fields = self.redis.hgetall(self.route.key("rollout"))
        return status_from_fields(fields) if fields else None

    def hold(self, text: str) -> str | None:
        """The reason with that text for which `:rollout` says that the rollout does not go on."""
        status = self.status()
        return next((sentence for sentence in status.holds if text in sentence), None) if status else None

    def rolled_back(self) -> RolloutEvent:
        """The first rollback, once it is in Kafka and in Redis."""
        event = wait_until(self.events, 60, "the rollback in Kafka")[0]
        wait_until(lambda: self.applied("canary") == "0.0", 30, "the rollback in Redis")
        return event

    def events(self, kind: str = ROLLBACK) -> list[RolloutEvent]:
        found = [decode_rollout_event(r.value) for r in self.read("rollout-events")]
        return [event for event in found if event.kind == kind]

    def predictions(self) -> list[Prediction]:
        return [decode_prediction(r.value) for r in self.read("predictions")]

    def read(self, topic) -> list[KafkaRecord]:
        return kafka_records(self.stack.bootstrap_servers, self.route.topic(topic))

    def evidence(self) -> list[tuple[int, Evidence]]:
        """As the controller reads it: with the broker's time."""
        return [(r.offset, replace(decode_evidence(r.value), appended_at=r.timestamp)) for r in self.read("evidence")]

    def replayed(self, event: RolloutEvent) -> list[RolloutEvent]:
        """The rollbacks that the evidence gives to whoever folds it, as if decided when the event was."""
        fold = EvidenceFold(self.judged_by, PARTITIONS)
        for offset, record in self.evidence():
            fold.on_record(offset, record)
        return [rollback_event(verdict, event.decided_at) for verdict in fold.decided]
