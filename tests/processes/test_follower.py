"""Following the control topics without a broker: through an outage nothing is lost and nothing read twice."""

from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError
from support.kafka_script import fails
from support.scripted_kafka import ScriptedKafka

from stream_router.adapters.kafka import following
from stream_router.adapters.kafka.following import Follower
from stream_router.errors import TopicError, UnreachableError
from stream_router.settings import Settings

# ruff: noqa: SLF001 - librdkafka's own codes are spelt so
SPLITS, EVENTS = "r.splits", "r.rollout-events"


class World:
    """A follower of two topics, and a clock that stands still."""

    def __init__(self, monkeypatch) -> None:
        self.kafka, self.now, self.made = ScriptedKafka(monkeypatch), 1_000.0, 0
        monkeypatch.setattr(following, "time", SimpleNamespace(monotonic=lambda: self.now))
        make = following.reader

        def counted(*arguments, **keywords):
            self.made += 1
            return make(*arguments, **keywords)

        monkeypatch.setattr(following, "reader", counted)
        self.follower = Follower(Settings(), [EVENTS, SPLITS])

    def read(self, after: float = 0.0) -> list[bytes]:
        self.now += after
        return [record.value() for record in self.follower.read(0.0)]

    def read_to_ends(self) -> list[bytes]:
        return [record.value() for record in self.follower.read_to_ends()]


@pytest.fixture
def world(monkeypatch) -> World:
    return World(monkeypatch)


def says_nothing(_client, _call) -> list:
    """A broker that hangs looks like a topic that is quiet."""
    return []


def test_all_is_read_once_and_in_order(world):
    world.kafka.fill(EVENTS, b"rollback")
    world.kafka.fill(SPLITS, b"a", b"b")
    assert world.read_to_ends() == [b"rollback", b"a", b"b"]
    assert world.follower.at_ends
    assert world.read() == []
    world.kafka.fill(SPLITS, b"c")
    assert world.read(after=10) == [b"c"]
    assert world.read(after=10) == []


def test_what_is_followed_costs_no_request_but_fetches(world):
    world.read_to_ends()
    world.kafka.calls.clear()
    for _ in range(100):
        world.read(after=0.01)
    assert set(world.kafka.calls) <= {"read", "assign"}


def test_who_answers_is_not_renewed_however_quiet_the_topics(world):
    world.read_to_ends()
    for _ in range(100):
        assert world.read(after=2) == []
    assert world.made == 1
    assert world.follower.at_ends


def test_a_broker_that_says_nothing_any_more_is_away_and_nothing_is_lost_or_doubled(world):
    world.kafka.fill(SPLITS, b"a")
    assert world.read_to_ends() == [b"a"]
    world.kafka.script("read", *[says_nothing] * 5)
    assert world.read(after=2) == []
    assert world.follower.at_ends, "it has been there a moment ago"
    world.kafka.fill(SPLITS, b"b")
    for renewed in (2, 3):
        with pytest.raises(UnreachableError, match="no answer"):
            world.read(after=4)
        assert not world.follower.at_ends
        assert world.made == renewed
        assert world.read() == []
    world.kafka.forget_script()
    assert world.read() == [b"b"]
    assert world.follower.at_ends
    assert world.read(after=2) == []


def test_a_caller_that_was_busy_is_no_broker_that_is_away(world):
    world.read_to_ends()
    world.kafka.script("read", says_nothing)
    assert world.read(after=2) == []
    assert world.read(after=60) == [], "the answer that came meanwhile counts"
    assert world.made == 1


@pytest.mark.parametrize("spoken", [EVENTS, SPLITS])
def test_a_topic_that_says_nothing_is_missed_also_while_the_other_speaks(world, spoken):
    def only_one(client, call):
        world.kafka.script("read", only_one)
        client.positions = {log: at for log, at in client.positions.items() if log[0] == spoken}
        return call()

    world.read_to_ends()
    world.kafka.script("read", only_one)
    said = []
    for number in range(10):
        world.kafka.fill(spoken, b"%d" % number)
        said += world.read(after=1)
    assert said == [b"%d" % number for number in range(10)]
    assert not world.follower.at_ends
    assert world.made > 1


def test_a_poll_that_fails_takes_the_ends_for_unknown_until_they_are_told_anew(world):
    world.read_to_ends()
    world.kafka.script("read", fails(KafkaError._TRANSPORT))
    with pytest.raises(UnreachableError):
        world.read()
    assert not world.follower.at_ends
    assert world.read() == []
    assert world.follower.at_ends
    assert world.made == 1


def test_the_ends_are_those_of_now_not_those_told_before(world):
    """A successor may have waited long, while its predecessor wrote."""
    world.read_to_ends()
    world.kafka.fill(EVENTS, b"rollback")
    assert world.read_to_ends() == [b"rollback"]


def test_a_topic_that_is_missing_is_told_at_once(world):
    world.kafka.script("get_watermark_offsets", fails(KafkaError.UNKNOWN_TOPIC_OR_PART))
    with pytest.raises(TopicError):
        world.read_to_ends()


def test_a_follower_at_rest_asks_for_nothing_and_goes_on_where_it_was(world):
    world.kafka.fill(SPLITS, b"a")
    assert world.read_to_ends() == [b"a"]
    world.follower.rest()
    assert not world.follower._consumer.assignment()
    world.kafka.fill(SPLITS, b"b")
    assert world.read_to_ends() == [b"b"]
