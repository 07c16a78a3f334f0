"""Following a control topic without a broker: through an outage nothing is lost and nothing read twice."""

import pytest
from confluent_kafka import KafkaError
from support.kafka_script import fails
from support.scripted_kafka import ScriptedKafka

from stream_router.adapters.kafka import polling
from stream_router.adapters.kafka.polling import Follower
from stream_router.errors import UnreachableError
from stream_router.settings import Settings

TOPIC = "r.splits"


def values(follower):
    return [record.value() for record in follower.read_to_end()]


@pytest.mark.parametrize("patience", [0.0, 3_600.0], ids=["a new client", "the same client"])
def test_an_outage_loses_and_doubles_nothing(monkeypatch, patience):
    monkeypatch.setattr(polling, "_RENEW_AFTER", patience)
    kafka = ScriptedKafka(monkeypatch)
    made = []
    reader = polling.reader
    monkeypatch.setattr(polling, "reader", lambda settings: made.append(reader(settings)) or made[-1])
    kafka.fill(TOPIC, b"a", b"b")
    follower = Follower(Settings(), TOPIC)
    assert values(follower) == [b"a", b"b"]
    kafka.fill(TOPIC, b"c")
    kafka.script("get_watermark_offsets", *[fails(KafkaError._UNKNOWN_PARTITION)] * 2)  # noqa: SLF001 - librdkafka's own code is spelt so
    for _ in range(2):
        with pytest.raises(UnreachableError):
            values(follower)
    assert values(follower) == [b"c"]
    assert values(follower) == []
    assert len(made) == (3 if patience == 0 else 1)
