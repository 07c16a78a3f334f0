"""Looking at lanes, on a scripted Kafka: which requests wait for too long, and what a look that fails says."""

import threading
from dataclasses import replace

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from structlog.testing import capture_logs
from support.scripted_admin import ScriptedAdmin
from support.scripted_kafka import ScriptedKafka, kafka_error

from stream_router.adapters.kafka import lanes
from stream_router.adapters.kafka.lanes import Lanes
from stream_router.core.rollout.lane_look import LaneLook, Wanted
from stream_router.core.route import Route
from stream_router.core.routing.header import HEADER, Routing
from stream_router.errors import UnreachableError
from stream_router.processes import lane_watch
from stream_router.processes.lane_watch import LaneWatch
from stream_router.settings import Settings

ROUTE = Route("r")
TOPIC, GROUP = ROUTE.lane_topic("canary"), ROUTE.scoring_group("canary")
NOW = 1_000_000
WANTED = Wanted(rollout=3, since=500_000, deadline=300_000, lanes=("canary",))


class World:
    def __init__(self, monkeypatch) -> None:
        self.kafka = ScriptedKafka(monkeypatch)
        self.admin = ScriptedAdmin()
        monkeypatch.setattr(lanes, "admin", lambda _: self.admin)
        monkeypatch.setattr(lanes, "partition_count", lambda *_: 2)
        self.lanes = Lanes(Settings(), ROUTE)

    def routed(self, *times: int, rollout: int = 3, partition: int = 0, timestamp: int | None = None) -> None:
        """One transaction of the router, which ends in a marker."""
        for time in times:
            header = (HEADER, Routing(1, "0" * 12, rollout, time).encode())
            stamp = (1, time if timestamp is None else timestamp)
            self.kafka.fill(TOPIC, b"v", partition=partition, headers=[header], timestamp=stamp)
        self.kafka.append((TOPIC, partition), None)

    def has_scored(self, offset: int, partition: int = 0) -> None:
        self.kafka.offsets[GROUP, TOPIC, partition] = TopicPartition(TOPIC, partition, offset)

    def lanes_clients(self) -> set[object]:
        """Those that the next look asks."""
        held = self.lanes._reader, *self.lanes._of_groups.values()  # noqa: SLF001 - what has to be another one
        return set(held)

    def look(self, now: int = NOW, wanted: Wanted = WANTED) -> LaneLook:
        return self.lanes.look("canary", wanted, now)


def _raising(error: Exception):
    def step(_client, _call):
        raise error

    return step


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


def test_requests_that_wait_for_longer_than_the_deadline_are_counted_from_the_groups_position(world):
    world.routed(600_000, 610_000, 620_000, 700_001)
    world.routed(650_000, partition=1)
    world.has_scored(1)
    world.has_scored(0, partition=1)
    found = world.look()
    assert (found.unanswered, found.oldest_routed_at, found.has_committed) == (3, 610_000, True)
    assert found.behind == 6


def test_a_group_that_has_read_all_but_the_ends_of_transactions_is_behind_with_nothing(world):
    world.routed(600_000)
    world.has_scored(1)
    assert world.look().unanswered == 0


def test_requests_of_other_rollouts_and_records_of_others_do_not_count(world):
    world.routed(600_000, rollout=2)
    world.kafka.fill(TOPIC, b"v")
    assert world.look().unanswered == 0


def test_a_group_without_a_position_waits_from_the_first_record_on(world):
    world.routed(600_000, 600_001)
    found = world.look()
    assert (found.unanswered, found.has_committed) == (2, False)
    world.has_scored(3, partition=1)
    assert world.look().has_committed


def test_what_was_deleted_waits_no_more(world):
    world.routed(600_000, 600_001)
    world.has_scored(0)
    world.kafka.starts[TOPIC, 0] = 1
    assert world.look().unanswered == 1


def test_at_most_so_many_records_are_read_and_earlier_rollouts_are_stepped_over(world, monkeypatch):
    monkeypatch.setattr(lanes, "_MOST", 10)
    world.routed(*[100_000] * 30, rollout=2)
    assert world.look().unanswered == 0
    world.routed(*[600_000] * 30)
    assert world.look().unanswered == 10


def test_a_backlog_whose_requests_are_older_than_the_rollout_is_not_stepped_over(world, monkeypatch):
    monkeypatch.setattr(lanes, "_MOST", 10)
    world.routed(*[600_000] * 30, timestamp=1)
    assert world.look().unanswered == 10


def test_a_lane_that_keeps_up_is_read_once(world):
    for at in range(10):
        world.routed(NOW + at)
        world.has_scored(2 * at)
        world.look(now=NOW + at)
    assert world.kafka.calls.count("read") > 0
    read = world.kafka.calls.count("read")
    for at in range(10, 20):
        world.routed(NOW + at)
        world.has_scored(2 * at)
        assert world.look(now=NOW + at).behind == 2
    assert world.kafka.calls.count("read") == read


def test_members_of_the_scoring_group(world):
    assert world.look().members == 0, "a group that the broker does not know has none"
    world.admin.members[GROUP] = 2
    assert world.look().members == 2


def test_who_may_not_ask_for_members_does_not_know_them(world):
    world.admin.errors[GROUP] = kafka_error(KafkaError.GROUP_AUTHORIZATION_FAILED)
    assert world.look().members is None
    world.admin.errors[GROUP] = kafka_error(KafkaError.GROUP_ID_NOT_FOUND)
    assert world.look().members == 0


@pytest.mark.parametrize("call", ["committed", "get_watermark_offsets", "list_groups"])
def test_an_outage_is_no_answer_and_the_next_look_has_clients_of_its_own(world, call):
    world.routed(600_000)
    world.look()
    before = world.lanes_clients()
    outage = KafkaException(kafka_error(KafkaError._TIMED_OUT))  # noqa: SLF001 - librdkafka's own code
    if call == "list_groups":
        world.admin.fails = outage
    else:
        world.kafka.script(call, _raising(outage))
    with pytest.raises(UnreachableError):
        world.look()
    world.admin.fails = None
    assert world.look().unanswered == 1
    assert not before & world.lanes_clients()


class Found:
    """Looks that a test sets."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked: list[tuple[str, int]] = []

    def look(self, lane, wanted, now, /):
        self.asked.append((lane, now))
        if self.error:
            raise self.error
        return LaneLook(lane=lane, rollout=wanted.rollout)


def test_only_what_is_wanted_is_looked_at_and_shown():
    found = Found()
    watch = LaneWatch(found)
    watch.look()
    assert (found.asked, watch.looks) == ([], {})
    watch.want(replace(WANTED, lanes=("stable", "canary")))
    watch.look()
    assert watch.looks.keys() == {"stable", "canary"}
    watch.want(replace(WANTED, rollout=4))
    assert watch.looks == {}, "of an earlier rollout"
    watch.want(None)
    assert watch.looks == {}


def test_an_old_look_says_nothing(monkeypatch):
    moments = iter([0.0, 10.0, 10.1])
    monkeypatch.setattr(lane_watch.time, "monotonic", lambda: next(moments))
    watch = LaneWatch(Found())
    watch.want(WANTED)
    watch.look()
    assert watch.looks.keys() == {"canary"}
    assert watch.looks == {}


def test_a_look_is_by_the_brokers_clock_once_that_is_known(monkeypatch):
    monkeypatch.setattr(lane_watch, "monotonic_ms", lambda: 50)
    monkeypatch.setattr(lane_watch, "now_ms", lambda: 7)
    found = Found()
    watch = LaneWatch(found)
    watch.want(WANTED)
    watch.on_appended(None)
    watch.look()
    watch.on_appended(1_000)
    watch.look()
    assert [now for _, now in found.asked] == [7, 1_000]


@pytest.mark.parametrize("error", [UnreachableError("away"), ValueError("unforeseen")])
def test_whatever_fails_is_said_once_and_the_watch_goes_on(error):
    found = Found()
    watch, stop = LaneWatch(found), threading.Event()
    watch.want(WANTED)
    found.error = error
    with capture_logs() as logs:
        watch.look()
        watch.look()
        found.error = None
        watch.look()
        found.error = error
        watch.look()
    assert [line["event"] for line in logs] == ["the lanes cannot be looked at, trying again"] * 2
    assert watch.looks.keys() == {"canary"}
    stop.set()
    watch.run(stop)
