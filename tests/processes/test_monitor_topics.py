"""Topics that do not fit are told at the monitor's start, before it is a member of any group."""

import pytest

from stream_router.core.route import Route
from stream_router.errors import TopicError
from stream_router.processes import monitor
from stream_router.settings import Settings

ROUTE = Route("r")
ORDERED = ["evidence", "splits", "rollout-events", "windowed-accuracy", "verdict-state"]


@pytest.fixture
def counts(monkeypatch):
    """The partitions of each topic; a topic without is missing."""
    found = dict.fromkeys(ORDERED, 1) | {"predictions": 8, "ground-truth": 8, "dead-letters": 1}

    def told(_settings, topic):
        name = topic.removeprefix("r.")
        if name not in found:
            raise TopicError(f"topic {topic} does not exist: create it with 'stream-router topics apply'")
        return found[name]

    monkeypatch.setattr(monitor, "partition_count", told)
    return found


class Started(Exception):  # noqa: N818 - not an error: the checks were passed
    """The checks were passed."""


@pytest.fixture
def start(monkeypatch):
    def passed(*_):
        raise Started

    monkeypatch.setattr(monitor, "check_retention", passed)
    return lambda: monitor.run_monitor(Settings(metrics_port=None), ROUTE, worker="w", stop=lambda: True)


@pytest.mark.usefixtures("counts")
def test_topics_as_they_are_made_pass(start):
    with pytest.raises(Started):
        start()


@pytest.mark.parametrize("topic", ["predictions", "ground-truth", *ORDERED, "dead-letters"])
def test_a_topic_that_is_missing_is_named_with_the_command_that_makes_it(counts, start, topic):
    """As before an upgrade that brings a topic."""
    del counts[topic]
    with pytest.raises(TopicError, match=rf"r\.{topic} does not exist: .*stream-router topics apply"):
        start()


@pytest.mark.parametrize("topic", ORDERED)
def test_a_topic_whose_order_counts_has_one_partition(counts, start, topic):
    counts[topic] = 8
    with pytest.raises(TopicError, match=rf"r\.{topic} has 8 partitions"):
        start()


def test_inputs_with_different_partitions_do_not_meet(counts, start):
    counts["predictions"] = 4
    with pytest.raises(TopicError, match=r"r\.predictions has 4 partitions, r\.ground-truth has 8"):
        start()
