"""The four processes of a route, its producers, and what its topics and keys say."""

import threading
from contextlib import contextmanager

from redis import Redis
from support.kafka import kafka_records
from support.load import Feeder
from support.processes import Processes
from support.truth import Truth
from support.waiting import wait_until

from stream_router.adapters.avro.evidence import decode_evidence
from stream_router.adapters.avro.records import decode_rollout_event
from stream_router.core.evidence import Evidence
from stream_router.core.policy import Policy
from stream_router.core.rollout.rollout_event import ROLLBACK

POLICY = Policy(window=1_000, label_horizon=5_000, prediction_deadline=10_000, block_time=2_000)

ENVIRONMENT = {
    "STREAM_ROUTER_POLICY__WINDOW": "1",
    "STREAM_ROUTER_POLICY__LABEL_HORIZON": "5",
    "STREAM_ROUTER_POLICY__PREDICTION_DEADLINE": "10",
    "STREAM_ROUTER_POLICY__BLOCK_TIME": "2",
    "PYTHONPATH": "tests",
}


class Loop:
    """The four processes of a route, its producers, and what its topics and keys say."""

    def __init__(self, stack, route, processes: Processes, redis: Redis) -> None:
        self.stack, self.route, self.processes, self.redis = stack, route, processes, redis
        self.feeder = Feeder(stack.bootstrap_servers, route.topic("requests"))
        self.truth = Truth(stack.bootstrap_servers, route.topic("ground-truth"))

    def start(self, stable: str, canary: str) -> None:
        self.processes.start("route", "--route", self.route.name)
        for lane, version in (("stable", stable), ("canary", canary)):
            model = ("--model", "support.models:load", "--model-version", version)
            self.processes.start("score", "--route", self.route.name, "--lane", lane, *model, **ENVIRONMENT)
        self.monitor = self.start_monitor("a")
        wait_until(lambda: len(self.redis.hgetall(self.route.key("models"))) == 2, 60, "both models to be registered")

    def start_monitor(self, worker: str):
        return self.processes.start("monitor", "--route", self.route.name, "--worker", worker, **ENVIRONMENT)

    @contextmanager
    def traffic(self, rate: int = 600):
        """Requests, each with its label half a second later."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(0.25):
                labelled = self.feeder.sent
                self.feeder.send(rate // 4)
                self.truth.send(max(0, labelled - rate // 4), labelled)

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

    def events(self, kind=ROLLBACK):
        found = [decode_rollout_event(r.value) for r in self.read("rollout-events")]
        return [event for event in found if event.kind == kind]

    def read(self, topic):
        return kafka_records(self.stack.bootstrap_servers, self.route.topic(topic))

    def evidence(self) -> list[tuple[int, Evidence]]:
        return [(r.offset, decode_evidence(r.value)) for r in self.read("evidence")]
