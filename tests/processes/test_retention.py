"""A horizon beyond what a topic keeps is refused before anything is read."""

import pytest
from confluent_kafka import KafkaError, KafkaException
from structlog.testing import capture_logs

from stream_router.adapters.kafka import clients
from stream_router.core.policy import Policy
from stream_router.core.route import Route
from stream_router.errors import SettingError, StreamRouterError, UnreachableError
from stream_router.processes.retention import check_retention
from stream_router.settings import Settings

ROUTE = Route("r")
POLICY = Policy(window=10_000, label_horizon=100_000, prediction_deadline=5_000)
LONG = {"retention.ms": "115000", "retention.bytes": "-1", "cleanup.policy": "delete"}


@pytest.fixture
def configs(monkeypatch):
    """What the brokers say of each topic; an exception is raised instead."""
    found = {ROUTE.topic(name): LONG for name in ("predictions", "ground-truth", "evidence")}

    def told(_settings, topic):
        if isinstance(found[topic], Exception):
            raise found[topic]
        return found[topic]

    monkeypatch.setattr(clients, "topic_config", told)
    return found


def check():
    check_retention(Settings(), ROUTE, POLICY)


def refused(code, kind=StreamRouterError):
    error = kind("refused")
    error.__cause__ = KafkaException(KafkaError(code))
    return error


@pytest.mark.usefixtures("configs")
def test_as_long_as_the_policy_reaches_is_enough():
    check()


@pytest.mark.parametrize("name", ["predictions", "ground-truth", "evidence"])
def test_a_topic_that_keeps_less_is_named_with_what_to_change(configs, name):
    configs[ROUTE.topic(name)] = LONG | {"retention.ms": "114999"}
    with pytest.raises(SettingError) as refusal:
        check()
    for part in ("route.label_horizon is 100 s", "115 s in all", f"topic r.{name}", "retention.ms=114999", "115000"):
        assert part in str(refusal.value)


@pytest.mark.parametrize("config", [{"retention.ms": "-1"}, {"retention.ms": "1", "cleanup.policy": "compact"}])
def test_a_topic_that_deletes_nothing_for_its_age_keeps_enough(configs, config):
    configs[ROUTE.topic("ground-truth")] = LONG | config
    check()


@pytest.mark.parametrize(("cleanup", "said"), [("delete", ["r.evidence"]), ("compact", [])])
def test_a_topic_that_deletes_by_its_size_is_said_with_what_it_has_to_keep(configs, cleanup, said):
    """Nobody knows how fast it fills."""
    configs[ROUTE.topic("evidence")] = LONG | {"retention.bytes": "1000000", "cleanup.policy": cleanup}
    with capture_logs() as logs:
        check()
    assert [entry["topic"] for entry in logs] == said
    assert all((entry["retention_bytes"], entry["seconds_needed"]) == (1_000_000, 115.0) for entry in logs)


@pytest.mark.usefixtures("configs")
def test_a_topic_that_keeps_enough_is_not_spoken_of():
    with capture_logs() as logs:
        check()
    assert logs == []


def test_a_broker_that_does_not_tell_us_is_said_and_the_other_topics_still_count(configs):
    configs[ROUTE.topic("predictions")] = refused(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with capture_logs() as logs:
        check()
    assert [entry["topic"] for entry in logs if entry["log_level"] == "warning"] == ["r.predictions"]
    configs[ROUTE.topic("evidence")] = LONG | {"retention.ms": "1"}
    with pytest.raises(SettingError, match=r"r\.evidence"):
        check()


def test_an_outage_is_not_taken_for_a_refusal(configs):
    configs[ROUTE.topic("predictions")] = refused(KafkaError._TIMED_OUT, UnreachableError)  # noqa: SLF001 - librdkafka's own code is spelt so
    with pytest.raises(UnreachableError):
        check()
