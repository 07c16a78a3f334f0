"""A router's split, kept true beside its loop: whatever of Redis and Kafka is away."""

from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError
from structlog.testing import capture_logs
from support.kafka_script import fails
from support.scripted_kafka import ScriptedKafka

from stream_router.adapters.avro.records import encode_rollout_event, encode_split
from stream_router.adapters.kafka.control_topics import ControlTopics
from stream_router.core.rollout.rollout_event import ROLLBACK, RolloutEvent
from stream_router.core.route import Route
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.routing_state import SCRIPT_DEADLINE_MS, RoutingState
from stream_router.core.routing.split import ALL_STABLE_RAW
from stream_router.errors import StreamRouterError, TopicError, UnreachableError
from stream_router.processes import split_watcher
from stream_router.processes.split_watcher import SplitWatcher
from stream_router.settings import Settings
from stream_router.testing import FakeSplitStore

# ruff: noqa: SLF001 - librdkafka's own codes are spelt so

ROUTE = Route("r")
TENTH = b'{"stable": 0.9, "canary": 0.1}'
HALF = b'{"stable": 0.5, "canary": 0.5}'


class World:
    """A watcher with a scripted Kafka, a fake Redis and a clock that stands still."""

    def __init__(self, monkeypatch) -> None:
        self.kafka, self.store, self.now = ScriptedKafka(monkeypatch), FakeSplitStore(ROUTE), 1_000_000
        self.state = RoutingState(who="router")
        topics = ControlTopics(Settings(), ROUTE)
        self.watcher = SplitWatcher(topics, self.store, self.state, clock=lambda: self.now)

    def started(self, raw: bytes = TENTH) -> "World":
        """Without its thread: `look` is called by hand."""
        self.store.propose(raw)
        self.started_alone()
        return self

    def started_alone(self) -> AppliedSplit:
        self.watcher._thread.start = lambda: None
        self.watcher.start()
        return self.state.in_force

    def look(self, after: int = 0) -> AppliedSplit:
        """Look, so many milliseconds later, and return what is in force then."""
        self.now += after
        self.watcher.look()
        return self.state.in_force

    def roll_back(self, rollout: int) -> None:
        event = RolloutEvent(
            kind=ROLLBACK, rollout=rollout, epoch=1, digest="", verdict="unhealthy", reason="worse", decided_at=1
        )
        self.kafka.fill(ROUTE.topic("rollout-events"), encode_rollout_event(event))

    def has_written(self, applied: AppliedSplit) -> None:
        """Another router."""
        self.kafka.fill(ROUTE.topic("splits"), encode_split(applied))


@pytest.fixture
def world(monkeypatch) -> World:
    return World(monkeypatch)


def said(logs, words: str) -> int:
    return sum(words in line["event"] for line in logs)


def test_a_set_is_in_force_at_the_next_look(world):
    assert world.started().state.in_force.canary == 0.1
    world.store.propose(HALF)
    assert (world.look().epoch, world.state.in_force.raw) == (2, HALF)


def test_a_refused_document_leaves_the_split_in_force(world):
    world.started().store.propose(b'{"stable": 90, "canary": 10}')
    assert world.look().raw == TENTH


def test_while_redis_is_away_routing_goes_on_and_both_its_going_and_its_coming_are_said_once(world):
    world.started()
    with capture_logs() as logs:
        world.store.away = True
        for _ in range(3):
            assert world.look(after=200).raw == TENTH
        world.store.away = False
        world.store.propose(HALF)
        for _ in range(3):
            assert world.look(after=200).raw == HALF
    assert said(logs, "routing goes on with the last split") == 1
    assert said(logs, "Redis answers again") == 1


def test_a_rollback_is_carried_out_by_the_script_where_redis_answers(world):
    world.started().roll_back(1)
    applied = world.look()
    assert (applied.canary, applied.registered, applied.raw) == (0.0, True, ALL_STABLE_RAW)
    assert world.store.latch().rollout == 1


def test_without_redis_a_router_declares_a_rollback_after_the_deadline_and_not_before(world):
    world.started().store.away = True
    world.roll_back(1)
    assert world.look().canary == 0.1
    assert world.look(after=SCRIPT_DEADLINE_MS - 1).canary == 0.1
    declared = world.look(after=1)
    assert (declared.canary, declared.epoch, declared.registered) == (0.0, 2, False)
    assert world.state.must_write(declared)


def test_a_rollback_that_arrives_while_redis_is_away_already_has_its_own_deadline(world):
    world.started().store.away = True
    world.look(after=60_000)
    world.roll_back(1)
    assert world.look().canary == 0.1
    assert world.look(after=SCRIPT_DEADLINE_MS).canary == 0.0


def test_what_a_router_declared_ends_when_the_script_succeeds_again(world):
    world.started().store.away = True
    world.roll_back(1)
    world.look()
    world.look(after=SCRIPT_DEADLINE_MS)
    world.store.away = False
    applied = world.look()
    assert (applied.canary, applied.registered) == (0.0, True)
    assert applied.epoch > 2


def test_a_rollback_of_an_earlier_rollout_changes_nothing(world):
    world.started().has_written(AppliedSplit(raw=HALF, canary=0.5, epoch=5, rollout=4))
    world.look()
    world.store.away = True
    world.roll_back(3)
    assert world.look(after=SCRIPT_DEADLINE_MS).canary == 0.5


@pytest.mark.parametrize(("times", "adopted"), [(1, HALF), (2, TENTH)])
def test_a_split_that_changes_between_look_and_call_is_looked_at_again_once(world, monkeypatch, times, adopted):
    """A second change in one look is left for the next."""
    world.started().store.propose(b'{"stable": 0.8, "canary": 0.2}')
    changes = iter([HALF, b'{"stable": 0.4, "canary": 0.6}'][:times])
    look = world.store.look

    def overtaken():
        seen = look()
        if (change := next(changes, None)) is not None:
            world.store.propose(change)
        return seen

    monkeypatch.setattr(world.store, "look", overtaken)
    assert world.look().raw == adopted
    assert world.look().raw == world.store.keys.split


def test_a_redis_that_forgot_is_told_by_who_read_the_topics(world):
    world.started()
    world.has_written(world.state.in_force)
    world.store.keys.applied = world.store.keys.split = None
    assert world.look().raw == TENTH
    assert world.store.applied().raw == TENTH


PASSING = [
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
]
"""A broker that is away, a leader that moves, a coordinator that loads."""


@pytest.mark.parametrize("code", PASSING)
def test_topics_that_cannot_be_read_are_tried_again_and_the_script_is_not_called_meanwhile(world, code):
    world.started().store.propose(HALF)
    world.kafka.script("get_watermark_offsets", fails(code))
    with capture_logs() as logs:
        assert world.look().raw == TENTH, "who has not read the topics to their ends must not call"
    assert said(logs, "cannot be read, trying again") == 1
    assert world.look().raw == HALF


def test_a_rollback_that_was_read_is_declared_although_kafka_went_away_behind_it(world):
    world.started().store.away = True
    world.roll_back(1)
    world.look()
    world.kafka.script("get_watermark_offsets", fails(KafkaError._TRANSPORT))
    assert world.look(after=SCRIPT_DEADLINE_MS).canary == 0.0


def test_a_record_that_cannot_be_read_is_said_and_the_others_count(world):
    world.started().store.away = True
    world.kafka.fill(ROUTE.topic("rollout-events"), b"nonsense", None)
    world.roll_back(1)
    with capture_logs() as logs:
        world.look()
    assert said(logs, "not readable") == 2
    assert world.look(after=SCRIPT_DEADLINE_MS).canary == 0.0


@pytest.mark.parametrize(
    ("code", "error"),
    [(KafkaError.UNKNOWN_TOPIC_OR_PART, TopicError), (KafkaError.TOPIC_AUTHORIZATION_FAILED, StreamRouterError)],
)
def test_what_no_restart_mends_ends_the_watcher_with_its_failure(world, monkeypatch, code, error):
    monkeypatch.setattr(split_watcher, "POLL", 0.0)
    world.store.propose(TENTH)
    world.kafka.script("get_watermark_offsets", *[lambda _client, call: call()] * 2, fails(code))
    world.watcher.start()
    world.watcher._thread.join(60)
    assert type(world.watcher.failure) is error
    assert world.state.in_force.raw == TENTH


def stopping(world: World) -> Callable:
    def step(_client, call):
        world.watcher._stop.set()
        return call()

    return step


def test_a_watcher_that_is_stopped_has_no_failure_and_closes_its_clients(world, monkeypatch):
    monkeypatch.setattr(split_watcher, "POLL", 0.0)
    world.kafka.script("get_watermark_offsets", *[lambda _client, call: call()] * 8, stopping(world))
    world.watcher.start()
    world.watcher._thread.join(60)
    world.watcher.stop()
    assert world.watcher.failure is None
    assert world.kafka.calls.count("close") == 2


def test_a_start_without_redis_takes_the_latest_split_of_the_topic(world):
    world.store.away = True
    world.has_written(AppliedSplit(raw=TENTH, canary=0.1, epoch=4, rollout=2))
    world.has_written(AppliedSplit(raw=HALF, canary=0.5, epoch=5, rollout=2))
    assert world.started_alone().raw == HALF


def test_a_start_without_redis_obeys_the_rollback_of_that_split_at_once(world):
    world.store.away = True
    world.has_written(AppliedSplit(raw=TENTH, canary=0.1, epoch=4, rollout=2))
    world.roll_back(2)
    declared = world.started_alone()
    assert (declared.canary, declared.epoch, declared.registered) == (0.0, 5, False)


def test_a_start_with_nothing_at_all_routes_everything_to_stable(world):
    world.store.away = True
    assert world.started_alone() == AppliedSplit()


def test_a_start_without_kafka_is_an_error_of_the_start(world):
    world.kafka.script("get_watermark_offsets", fails(KafkaError._TRANSPORT))
    with pytest.raises(UnreachableError):
        world.watcher.start()
