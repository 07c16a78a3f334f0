"""Topics: created where they are missing, never changed, and every difference is named."""

import json

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)
from support.waiting import wait_until

from stream_router.adapters.kafka import topics
from stream_router.core.route import Route
from stream_router.errors import TopicError, UnreachableError
from stream_router.settings import load_settings

pytestmark = pytest.mark.stack


def client(stack):
    return AdminClient({"bootstrap.servers": stack.bootstrap_servers})


def create(stack, name, partitions):
    kafka = client(stack)
    kafka.create_topics([NewTopic(name, partitions, -1)])[name].result()
    wait_until(lambda: name in kafka.list_topics(timeout=10).topics, 30, f"the broker lists {name}")


def test_applied_topics_are_as_declared(settings, route, partitions):
    assert topics.differences(settings, route, partitions) == []


def test_applying_again_creates_nothing(settings, route, partitions):
    assert not any(topic.created for topic in topics.apply(settings, route, partitions))


def test_partitions_override_only_counts_above_one(settings, route, partitions):
    counts = {topic.name.removeprefix(f"{route.name}."): topic.partitions for topic in topics.apply(settings, route)}
    assert counts["requests"] == counts["requests.stable"] == counts["requests.canary"] == partitions
    assert counts["predictions"] == counts["ground-truth"] == partitions
    assert counts["splits"] == counts["rollout-events"] == counts["evidence"] == 1


def test_lanes_take_the_count_of_an_existing_request_topic(settings, stack, route_name):
    create(stack, f"{route_name}.requests", 3)
    counts = {topic.name: topic.partitions for topic in topics.apply(settings, Route(route_name), 5)}
    assert counts[f"{route_name}.requests.stable"] == counts[f"{route_name}.requests.canary"] == 3
    assert counts[f"{route_name}.predictions"] == 5


def test_predictions_take_the_count_of_an_existing_ground_truth(settings, stack, route_name):
    create(stack, f"{route_name}.ground-truth", 3)
    counts = {topic.name: topic.partitions for topic in topics.apply(settings, Route(route_name))}
    assert counts[f"{route_name}.predictions"] == 3


def test_an_existing_topic_of_the_users_takes_the_place(settings, stack, route_name):
    create(stack, f"{route_name}-mine", 3)
    route = Route(route_name, requests=f"{route_name}-mine")
    applied = {topic.name: topic for topic in topics.apply(settings, route)}
    assert f"{route_name}.requests" not in applied
    assert applied[route.lane_topic("canary")].partitions == 3
    assert topics.differences(settings, route) == []


def test_a_misspelt_topic_of_the_users_is_not_created(settings, route_name):
    with pytest.raises(TopicError, match=f"'{route_name}-typo'.*does not exist"):
        topics.apply(settings, Route(route_name, requests=f"{route_name}-typo"))


def test_each_difference_is_named(settings, stack, route, partitions):
    kafka = client(stack)
    kafka.delete_topics([route.topic("splits")], operation_timeout=10)[route.topic("splits")].result()
    grown = route.lane_topic("stable")
    kafka.create_partitions([NewPartitions(grown, partitions + 1)])[grown].result()
    truth = route.topic("ground-truth")
    kafka.create_partitions([NewPartitions(truth, partitions + 2)])[truth].result()
    shorter = ConfigEntry("retention.ms", "5", incremental_operation=AlterConfigOpType.SET)
    changed = ConfigResource(ResourceType.TOPIC, route.topic("evidence"), incremental_configs=[shorter])
    kafka.incremental_alter_configs([changed])[changed].result()

    def found_all():
        found = topics.differences(settings, route, partitions)
        return found if len(found) == 4 else None

    found = "\n".join(wait_until(found_all, 30, "the broker shows the four changes"))
    assert f"{route.topic('splits')} is missing" in found
    assert f"{grown} has {partitions + 1} partitions, but {route.topic('requests')} has {partitions}" in found
    assert f"{truth} has {partitions + 2} partitions, but {route.topic('predictions')} has {partitions}" in found
    assert f"{route.topic('evidence')} has retention.ms=5, declared is 7776000000" in found


def test_another_count_than_declared_is_named(settings, route):
    assert f"{route.topic('requests')} has 4 partitions, declared are 8" in topics.differences(settings, route)


def test_commands_say_what_they_do(stack_processes, route_name):
    missing = stack_processes.run("topics", "verify", "--route", route_name)
    assert missing.process.returncode == 1
    assert f"{route_name}.requests is missing" in missing.stdout
    assert "11 differences" in missing.stderr

    first = stack_processes.run("topics", "apply", "--route", route_name, "--partitions", "2", "--output", "json")
    assert [topic["created"] for topic in json.loads(first.stdout)] == [True] * 11
    again = stack_processes.run("topics", "apply", "--route", route_name)
    assert "created" not in again.stdout
    assert again.process.returncode == 0

    verified = stack_processes.run("topics", "verify", "--route", route_name, "--partitions", "2")
    assert verified.process.returncode == 0
    listed = stack_processes.run("topics", "list", "--route", route_name, "--output", "json")
    assert {topic["name"]: topic["partitions"] for topic in json.loads(listed.stdout)}[f"{route_name}.requests"] == 2


def test_an_unreachable_broker_is_named_and_soon():
    settings = load_settings(flags={"bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1 "):
        topics.apply(settings, Route("flights"))
