"""The whole loop on real servers: a poor canary is rolled back, and stays out until a person says otherwise."""

import threading
from collections import Counter
from contextlib import contextmanager

import pytest
from redis import Redis
from support.kafka import kafka_records
from support.load import Feeder
from support.processes import Processes
from support.truth import Truth
from support.waiting import wait_until

from stream_router.adapters.avro.codec import Codec
from stream_router.adapters.avro.records import decode_evidence, decode_prediction, decode_rollout_event, decode_split
from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.evidence import Evidence
from stream_router.core.policy import Policy
from stream_router.core.routing.split import parse_split

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(240)]

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

    def events(self):
        return [decode_rollout_event(r.value) for r in self.read("rollout-events")]

    def read(self, topic):
        return kafka_records(self.stack.bootstrap_servers, self.route.topic(topic))

    def evidence(self) -> list[tuple[int, Evidence]]:
        return [(r.offset, decode_evidence(r.value)) for r in self.read("evidence")]


@pytest.fixture
def loop(stack, route, stack_processes):
    with Redis.from_url(stack.redis_url) as redis:
        yield Loop(stack, route, stack_processes, redis)


def test_a_poor_canary_is_rolled_back_and_stays_out_until_it_is_released(loop: Loop):
    loop.start(stable="0.9", canary="0.6")
    with loop.traffic():
        loop.set_split(0.2)
        event = wait_until(loop.events, 120, "the rollback in Kafka")[0]
        wait_until(lambda: loop.applied("canary") == "0.0", 30, "the rollback in Redis")
        epoch = int(loop.applied("epoch"))
        wait_until(
            lambda: epoch in {decode_split(r.value).epoch for r in loop.read("splits")}, 30, "the router to obey"
        )
        loop.set_split(0.3)
        key = loop.route.key("release")
        wait_until(
            lambda: f"SET {key} 1".encode() in (loop.redis.hget(loop.route.key("rejected"), "why") or b""),
            30,
            "the refusal under the latch to name the command that ends it",
        )
        assert loop.applied("canary") == "0.0"
        loop.redis.set(key, 1)
        loop.set_split(0.31)
        wait_until(lambda: loop.applied("rollout") == "2", 30, "a new rollout after the release")

    assert (event.kind, event.rollout, event.metric, event.verdict) == ("rollback", 1, "accuracy", "unhealthy")
    numbers = event.numbers
    assert numbers.e_value >= numbers.threshold == pytest.approx(20)
    assert numbers.difference_high < 0
    assert (event.stable_version, event.canary_version) == ("0.9", "0.6")
    for quoted in (
        f"{numbers.canary_labels:,} labels",
        f"{numbers.stable_labels:,} labels",
        "reached 20",
        "0.6",
        "0.9",
    ):
        assert quoted in event.reason
    assert event.deciding_label_at is not None
    assert event.deciding_label_at <= event.decided_at
    verdicts = replay(loop.evidence())
    assert [(v.rollout, v.offset) for v in verdicts if v.rollout == 1] == [(1, event.evidence_offset)]
    under_rollback = [p for r in loop.read("predictions") if (p := decode_prediction(r.value)).epoch == epoch]
    assert under_rollback
    assert {p.lane for p in under_rollback} == {"stable"}


def replay(records: list[tuple[int, Evidence]]):
    """The verdicts that the evidence gives to whoever folds it."""
    fold = EvidenceFold(POLICY, 4)
    return [verdict for offset, record in records for verdict in fold.on_record(offset, record).verdicts]


def test_windowed_accuracy_equals_a_recount_although_the_monitor_is_killed(loop: Loop):
    loop.start(stable="0.9", canary="0.9")
    loop.set_split(0.3)
    with loop.traffic():
        wait_until(lambda: loop.read("windowed-accuracy"), 60, "windows")
        loop.start_monitor("b")
        wait_until(
            lambda: {e.by for _, e in loop.evidence() if e.partition is not None} >= {"a", "b"}, 60, "both to write"
        )
        loop.monitor.kill()
        seen = len(loop.evidence())
        wait_until(lambda: len(loop.evidence()) > seen + 20, 60, "the other to take over")
    loop.truth.send(0, loop.feeder.sent)  # again: duplicates change nothing

    def recounted():
        predictions = [decode_prediction(r.value) for r in loop.read("predictions")]
        if len(predictions) < loop.feeder.sent:
            return None
        rows = [
            (
                POLICY.window_start(p.routed_at),
                p.rollout,
                p.lane,
                p.model_version,
                p.value == (int(p.request_id[1:]) % 2 == 0),
            )
            for p in predictions
        ]
        return Counter(row[:4] for row in rows), Counter(row[:4] for row in rows if row[4])

    predicted, correct = wait_until(recounted, 60, "all predictions")

    def windows():
        newest = {r.key: Codec.of("windowed_accuracy").decode(r.value) for r in loop.read("windowed-accuracy")}
        return {(w["window_start"], w["rollout"], w["lane"], w["model_version"]): w for w in newest.values()}

    def agree():
        found = windows()
        return {key: (w["predicted"], w["labelled"], w["correct"]) for key, w in found.items()} == {
            key: (count, count, correct[key]) for key, count in predicted.items()
        }

    wait_until(agree, 60, "the windows to equal the recount")
    assert len({key[0] for key in predicted}) > 5
    assert {key[2] for key in predicted} == {"stable", "canary"}
    splits = [decode_split(r.value) for r in loop.read("splits")]
    in_force = {(e.epoch_in_force.epoch, e.epoch_in_force.digest) for _, e in loop.evidence() if e.epoch_in_force}
    assert in_force == {(applied.epoch, applied.digest) for applied in splits}
    assert all(parse_split(applied.raw).canary == applied.canary for applied in splits)
