"""topics/*.yaml: every topic of a route is declared, and completely."""

from typing import get_args

import pytest
import yaml

from stream_router.adapters.kafka.declarations import Declaration, declarations, read_declaration
from stream_router.adapters.kafka.topics import FOLLOWS
from stream_router.adapters.resources import resource_folder
from stream_router.core.route import Topic
from stream_router.errors import TopicError

FILES = sorted(resource_folder("topics").glob("*.yaml"))
DECLARED = {declaration.topic: declaration for declaration in declarations()}
FOREVER = "9223372036854775807"


def test_every_topic_of_a_route_is_declared_once():
    assert [declaration.topic for declaration in declarations()] == list(get_args(Topic))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_declaration_is_complete(file):
    assert set(yaml.safe_load(file.read_text())) == set(Declaration.model_fields)


@pytest.mark.parametrize("topic", get_args(Topic))
def test_no_timestamp_is_refused_and_retention_is_declared(topic):
    """One record that the broker refuses for its time would abort its transaction for ever."""
    config = DECLARED[topic].config
    assert config["message.timestamp.after.max.ms"] == config["message.timestamp.before.max.ms"] == FOREVER
    assert config["cleanup.policy"] == "compact" or "retention.ms" in config
    appended = topic in ("ground-truth", "dead-letters", "evidence")
    assert config["message.timestamp.type"] == ("LogAppendTime" if appended else "CreateTime")


@pytest.mark.parametrize("topic", ["splits", "rollout-events"])
def test_the_logs_of_record_are_one_partition_and_never_deleted(topic):
    declaration = DECLARED[topic]
    assert declaration.partitions_or(8) == 1
    assert (declaration.config["retention.ms"], declaration.config["retention.bytes"]) == ("-1", "-1")


def test_lanes_and_joined_topics_are_declared_with_equal_counts():
    for follower, leader in FOLLOWS.items():
        assert DECLARED[follower].partitions == DECLARED[leader].partitions


def test_a_lane_takes_every_record_that_the_request_topic_takes():
    """One header is added."""
    requests = int(DECLARED["requests"].config["max.message.bytes"])
    for topic in ("requests.stable", "requests.canary", "dead-letters"):
        assert int(DECLARED[topic].config["max.message.bytes"]) > requests


@pytest.mark.parametrize(
    "change",
    [
        {"owner": None},
        {"partitions": 0},
        {"name": "{route}.other"},
        {"name": "fixed"},
        {"surprise": 1},
        {"config": {"a": 1}},
    ],
)
def test_an_incomplete_or_wrong_declaration_is_refused(tmp_path, change):
    document = yaml.safe_load((resource_folder("topics") / "splits.yaml").read_text()) | change
    file = tmp_path / "splits.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(TopicError, match=r"splits\.yaml"):
        read_declaration(file)
