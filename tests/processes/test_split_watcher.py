"""A router's split, kept true beside its loop: whatever of Redis and Kafka is away or hangs."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import KafkaError
from structlog.testing import capture_logs
from support.kafka_script import event, fails, passes
from support.scripted_kafka import ScriptedKafka
from support.valkey import valkey_server
from support.waiting import wait_until
from support.wire import Wire

from stream_router.adapters.avro.records import encode_rollout_event, encode_split
from stream_router.adapters.kafka.control_topics import ControlTopics
from stream_router.adapters.redis import tracking
from stream_router.adapters.redis.store import RedisSplitStore
from stream_router.adapters.redis.tracking import SplitTracking
from stream_router.core.rollout.rollout_event import ROLLBACK, RolloutEvent
from stream_router.core.route import Route
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.proposal import Proposal
from stream_router.core.routing.routing_state import SCRIPT_DEADLINE_MS, RoutingState
from stream_router.core.routing.split import ALL_STABLE_RAW
from stream_router.errors import StreamRouterError, TopicError, UnreachableError
from stream_router.processes import split_watcher, worker
from stream_router.processes.split_watcher import SplitWatcher
from stream_router.processes.worker import Worker
from stream_router.settings import Settings
from stream_router.testing import FakeSplitStore

# ruff: noqa: SLF001 - librdkafka's own codes are spelt so

ROUTE = Route("r")
TENTH = b'{"stable": 0.9, "canary": 0.1}'
HALF = b'{"stable": 0.5, "canary": 0.5}'


class FakeTracking:
    """Tells a change when told to."""

    pause = 0.01

    def __init__(self) -> None:
        self.works, self._change = True, threading.Event()

    def tell(self) -> None:
        self._change.set()

    def wait(self, *, redis_answers: bool = False) -> bool:
        del redis_answers
        told = self._change.wait(0.01)
        self._change.clear()
        return told

    def close(self) -> None:
        self.works = False


class World:
    """A watcher with a scripted Kafka, a fake Redis and a clock that stands still."""

    def __init__(self, monkeypatch, store=None, tracking=None) -> None:
        self.kafka, self.now = ScriptedKafka(monkeypatch), 1_000_000
        self.store = store or FakeSplitStore(ROUTE)
        self.state, self.tracking = RoutingState(who="router"), tracking or FakeTracking()
        topics = ControlTopics(Settings(), ROUTE)
        self.watcher = SplitWatcher(topics, self.store, self.tracking, self.state, clock=lambda: self.now)
        self._monkeypatch = monkeypatch

    def started(self, raw: bytes = TENTH) -> "World":
        """Without its threads: `look` takes their turns by hand."""
        self.store.propose(raw)
        self.started_alone()
        return self

    def started_alone(self) -> AppliedSplit:
        self._monkeypatch.setattr(split_watcher, "_FOLLOW", 0.0)
        self._monkeypatch.setattr(Worker, "start", lambda self: self._turn())
        self.watcher.start()
        return self.watcher.in_force()

    def look(self, after: int = 0) -> AppliedSplit:
        """Read and call, so many milliseconds later, and return what is in force then."""
        self.now += after
        self.watcher._follow()
        self.watcher._ask()
        return self.watcher.in_force()

    @contextmanager
    def running(self, raw: bytes = TENTH) -> Iterator[None]:
        """With its threads."""
        self._monkeypatch.setattr(split_watcher, "POLL", 0.01)
        self.store.propose(raw)
        self.watcher.start()
        try:
            yield
        finally:
            self.watcher.stop()

    def has_read_rollback_of(self, rollout: int) -> None:
        """It is in Kafka, and the watcher's thread has read it."""
        self.roll_back(rollout)
        wait_until(lambda: self.state.view.latch == rollout, 30, "the rollback to be read")

    def roll_back(self, rollout: int, kind: str = ROLLBACK) -> None:
        event = RolloutEvent(
            kind=kind, rollout=rollout, epoch=1, digest="", verdict="unhealthy", reason="worse", decided_at=1
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
    assert world.started().watcher.in_force().canary == 0.1
    world.store.propose(HALF)
    applied = world.look()
    assert (applied.epoch, applied.raw) == (2, HALF)


@pytest.mark.parametrize("kind", ["verdict", "of a later version"])
def test_what_tells_of_a_bad_canary_and_is_no_rollback_is_not_carried_out(world, kind):
    world.started()
    world.roll_back(world.state.view.in_force.rollout, kind)
    assert world.look().canary == 0.1
    assert world.state.view.latch is None


def test_a_refused_document_leaves_the_split_in_force(world):
    world.started().store.propose(b'{"stable": 90, "canary": 10}')
    assert world.look().raw == TENTH


def refusals(logs):
    return [(line["value"], line["why"]) for line in logs if line["event"] == "split refused"]


def test_a_refused_document_is_said_once_with_its_value_and_why(world):
    world.started()
    with capture_logs() as logs:
        for raw in (b'{"stable": 9, "canary": 1}', b'{"stable": 9, "canary": 1}', b"10%", HALF):
            world.store.propose(raw)
            world.look(after=200)
            world.look(after=200)
    (first, why), (second, _) = refusals(logs)
    assert (first, second) == ('{"stable": 9, "canary": 1}', "10%")
    assert "write it as" in why


def test_refusals_are_told_by_the_script_itself(world, monkeypatch):
    monkeypatch.setattr(world.store, "rejected", lambda: 1 / 0)
    world.started()
    with capture_logs() as logs:
        world.store.propose(b"10%")
        world.look()
    assert [value for value, _ in refusals(logs)] == ["10%"]


def test_a_document_that_is_refused_at_a_start_is_said_but_not_one_refused_long_ago(world, monkeypatch):
    with capture_logs() as logs:
        world.started(b"10%")
    assert [value for value, _ in refusals(logs)] == ["10%"]
    with capture_logs() as logs:
        later = World(monkeypatch, world.store)
        later.now = world.now + 60_000
        later.started_alone()
        later.look(after=200)
    assert refusals(logs) == []


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
    world.kafka.script("read", fails(code))
    with capture_logs() as logs:
        assert world.look().raw == TENTH, "who has not read the topics to their ends must not call"
    assert said(logs, "cannot be read, trying again") == 1
    assert world.look().raw == HALF


def test_a_rollback_that_was_read_is_declared_although_kafka_went_away_behind_it(world):
    world.started().store.away = True
    world.roll_back(1)
    world.look()
    world.kafka.script("read", fails(KafkaError._TRANSPORT))
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
def test_what_no_restart_mends_ends_the_thread_and_is_raised_in_the_routing_loop(world, code, error):
    with world.running():
        world.kafka.script("read", event(code))
        assert world.watcher._follower.ended(60)
        with pytest.raises(StreamRouterError) as raised:
            world.watcher.check()
        assert type(raised.value) is error
        assert not world.watcher.ready
    assert world.state.in_force.raw == TENTH


def test_a_bug_in_the_thread_that_calls_the_script_is_raised_in_the_routing_loop(world, monkeypatch):
    with world.running():
        monkeypatch.setattr(world.store, "look", lambda: 1 / 0)
        assert world.watcher._asker.ended(60)
        with pytest.raises(ZeroDivisionError):
            world.watcher.check()


def test_a_watcher_that_is_stopped_ends_its_threads_and_closes_its_clients(world):
    with world.running():
        world.watcher.check()
        assert world.watcher.ready
    world.watcher.check()
    assert world.watcher._asker.ended(within=0)
    assert world.kafka.calls.count("close") == 1
    assert not world.tracking.works


class HangingStore(FakeSplitStore):
    """Hangs in a call like a resolver that takes its time; `let_go` ends that."""

    def __init__(self, route: Route) -> None:
        super().__init__(route)
        self.hang, self.hangs, self.let_go = False, threading.Event(), threading.Event()

    def look(self) -> Proposal:
        if self.hang:
            self.hangs.set()
            assert self.let_go.wait(120)
            raise UnreachableError("Temporary failure in name resolution")
        return super().look()


@contextmanager
def resolver_that_hangs(monkeypatch) -> Iterator[World]:
    world = World(monkeypatch, HangingStore(ROUTE))
    with world.running():
        world.store.hang = True
        assert world.store.hangs.wait(60)
        yield world
        world.store.let_go.set()


@contextmanager
def valkey_that_stops(monkeypatch) -> Iterator[World]:
    with valkey_server() as url:
        world = World(monkeypatch, patient_store(url))
        with world.running():
            pid = world.store._client.info("server")["process_id"]
            os.kill(pid, signal.SIGSTOP)
            try:
                yield world
            finally:
                os.kill(pid, signal.SIGCONT)
        world.store.close()


@contextmanager
def socket_that_says_nothing(monkeypatch) -> Iterator[World]:
    """A half-open Redis: it takes connections, and answers none. What was in force stands in R.splits."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        world = World(monkeypatch, patient_store(f"redis://127.0.0.1:{server.getsockname()[1]}"))
        world.has_written(AppliedSplit(raw=TENTH, canary=0.1, epoch=1, rollout=1))
        monkeypatch.setattr(world.store, "propose", lambda _: None)
        with world.running():
            yield world


def patient_store(url: str) -> RedisSplitStore:
    """With a timeout of the user's that is far longer than a rollback may wait."""
    return RedisSplitStore(ROUTE, Settings(redis_url=url, redis={"socket_timeout": 30}))


HANGING = [resolver_that_hangs, valkey_that_stops, socket_that_says_nothing]


@pytest.mark.parametrize("hanging", HANGING, ids=lambda hanging: hanging.__name__)
def test_a_rollback_is_obeyed_within_a_second_of_its_reading_whatever_hangs(monkeypatch, hanging):
    with hanging(monkeypatch) as world:
        assert world.watcher.in_force().canary == 0.1
        with capture_logs() as logs:
            world.has_read_rollback_of(1)
            world.now += SCRIPT_DEADLINE_MS - 1
            assert world.watcher.in_force().canary == 0.1
            world.now += 1
            declared = world.watcher.in_force()
            assert (declared.canary, declared.epoch, declared.registered) == (0.0, 2, False)
            assert world.watcher.in_force() == declared
        assert said(logs, "everything goes to stable without Redis") == 1
        assert world.state.must_write(declared)
        world.watcher.check()


def test_what_was_declared_while_a_call_hung_ends_when_it_comes_back(monkeypatch):
    with resolver_that_hangs(monkeypatch) as world:
        world.has_read_rollback_of(1)
        world.now += SCRIPT_DEADLINE_MS
        assert not world.watcher.in_force().registered
        world.store.hang = False
        world.store.let_go.set()
        wait_until(lambda: world.watcher.in_force().registered, 30, "the script's own rollback")
        assert world.store.latch().rollout == 1
        assert world.watcher.in_force().canary == 0.0


def test_an_answer_that_was_asked_for_before_a_rollback_was_read_brings_canary_no_share(world):
    """The call began with what was known then."""
    world.started().store.propose(HALF)
    look, overtaken = world.store.look, iter([1])

    def rolled_back_meanwhile():
        if next(overtaken, None):
            world.roll_back(1)
            world.watcher._follow()
        return look()

    world.store.look = rolled_back_meanwhile
    assert world.look().raw == TENTH
    assert world.look().canary == 0.0


def test_a_call_that_hangs_is_said_once_and_the_router_is_not_ready_but_goes_on(monkeypatch):
    with resolver_that_hangs(monkeypatch) as world, capture_logs() as logs:
        assert world.watcher.ready
        monkeypatch.setattr(worker, "HUNG", 0.0)
        monkeypatch.setattr(Worker, "beat", lambda _: None)  # so that only the call that hangs does
        world.watcher._follower._alive_at = None
        for _ in range(3):
            world.watcher.check()
        assert not world.watcher.ready
    assert said(logs, "routing goes on with the last split") == 1


def test_a_thread_that_hangs_reading_the_topics_ends_the_router(world, monkeypatch):
    hangs, let_go = threading.Event(), threading.Event()

    def hang(_client, call):
        hangs.set()
        assert let_go.wait(120)
        return call()

    world.kafka.script("read", passes, hang)
    with world.running():
        assert hangs.wait(60)
        world.watcher.check()
        monkeypatch.setattr(worker, "HUNG", 0.0)
        with pytest.raises(UnreachableError, match="start the router again"):
            world.watcher.check()
        assert not world.watcher.ready
        let_go.set()


def test_a_router_is_ready_once_it_has_read_the_topics_and_knows_a_split(world):
    assert not world.watcher.ready
    world.store.away = True
    world.started_alone()
    assert not world.watcher.ready, "neither Redis nor R.splits has said where requests go"
    world.store.away = False
    world.look()
    assert world.watcher.ready


def test_rollbacks_of_the_past_are_no_news_at_a_start(world):
    world.roll_back(1)
    with capture_logs() as logs:
        world.started()
        world.look()
        assert said(logs, "rollback") == 0
        world.roll_back(2)
        world.look()
        world.look()
    assert [line["rollout"] for line in logs if line["event"] == "rollback"] == [2]


def test_a_splits_topic_that_does_not_answer_holds_up_no_rollback(world):
    world.started().store.away = True
    world.roll_back(1)
    splits = ROUTE.topic("splits")
    world.kafka.script("read", lambda _, call: [message for message in call() if message.topic() != splits])
    world.look()
    assert world.look(after=SCRIPT_DEADLINE_MS).canary == 0.0


def test_a_change_that_redis_tells_is_in_force_before_the_next_poll(world, monkeypatch):
    monkeypatch.setattr(split_watcher, "NET", 3_600.0)
    with world.running():
        wait_until(lambda: not world.watcher._wake.is_set(), 30, "the calls of the start")
        world.store.propose(HALF)
        world.tracking.tell()
        wait_until(lambda: world.watcher.in_force().raw == HALF, 30, "the change to be in force")


def test_a_change_that_nobody_tells_is_found_by_the_poll(world, monkeypatch):
    monkeypatch.setattr(split_watcher, "NET", 0.01)
    with world.running():
        world.store.propose(HALF)
        wait_until(lambda: world.watcher.in_force().raw == HALF, 30, "the change to be in force")


def test_where_redis_tells_no_changes_or_does_not_answer_it_is_asked_often(world, monkeypatch):
    monkeypatch.setattr(split_watcher, "NET", 3_600.0)
    world.started()
    world.watcher._wake.clear()
    world.tracking.works = False
    assert world.watcher._awaits_turn()
    world.tracking.works, world.store.away = True, True
    world.look()
    assert world.watcher._awaits_turn()


def test_a_rollback_and_a_law_of_another_router_wake_the_script_and_what_is_known_does_not(world):
    world.started()
    wakes = world.watcher._wake
    for happens, is_news in [
        (lambda: world.has_written(world.watcher.in_force()), False),
        (lambda: world.has_written(AppliedSplit(raw=HALF, canary=0.5, epoch=9, rollout=1)), True),
        (lambda: world.roll_back(1), True),
    ]:
        wakes.clear()
        happens()
        world.watcher._follow()
        assert wakes.is_set() is is_news


def test_a_turn_of_the_tracking_that_fails_is_no_end_and_is_tried_again(world, monkeypatch):
    tells = iter([True])

    def fails_once(**_):
        if next(tells, None):
            raise UnreachableError("away")
        return True

    monkeypatch.setattr(world.tracking, "wait", fails_once)
    world.started()
    world.watcher._wake.clear()
    world.watcher._track()
    assert world.watcher._wake.is_set()
    world.watcher.check()


@pytest.mark.parametrize("command", [b"HELLO", b"TRACKING"])
def test_a_proxy_that_ends_what_would_track_is_said_once_polled_often_and_tried_again(monkeypatch, command):
    monkeypatch.setattr(split_watcher, "NET", 3_600.0)
    for pause in ("RETRY", "RETRY_REFUSED"):
        monkeypatch.setattr(tracking, pause, 0.01)
    with valkey_server() as url:
        wire, store = Wire(url), patient_store(url)
        wire.cut_at(command)
        world = World(monkeypatch, store, SplitTracking(ROUTE, Settings(redis_url=wire.url)))
        with capture_logs() as logs, world.running():
            wait_until(lambda: said(logs, "Redis tells no changes"), 60, "the refusal to be said")
            store.propose(HALF)
            wait_until(lambda: world.watcher.in_force().raw == HALF, 30, "the change to be in force")
            wire.cut_at(b"")
            wait_until(lambda: world.tracking.works, 30, "the tracking to work")
        assert said(logs, "Redis tells no changes") == 1
        assert said(logs, "routing goes on with the last split") == 0
        store.close()
        wire.close()


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
