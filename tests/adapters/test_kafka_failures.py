"""What an error of librdkafka becomes for the user."""

import pytest
from confluent_kafka import KafkaError
from support.scripted_kafka import kafka_error

from stream_router.adapters.kafka.failures import Failure, explain, failure_of
from stream_router.errors import StreamRouterError, UnreachableError
from stream_router.settings import Settings


def explained(error: KafkaError) -> StreamRouterError:
    return explain(error, Settings(), "testing")


def test_what_the_client_calls_retriable_is_an_outage_also_outside_of_the_table():
    error = kafka_error(KafkaError.THROTTLING_QUOTA_EXCEEDED, retriable=True)
    assert failure_of(error) is Failure.PASSES
    assert isinstance(explained(error), UnreachableError)


@pytest.mark.parametrize("code", [KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID])
def test_a_member_that_its_group_has_gone_on_without_is_told_to_start_again(code):
    error = explained(kafka_error(code))
    assert error.restart_mends
    assert "the group has gone on without this process while testing" in str(error)
