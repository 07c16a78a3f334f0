"""What Kafka's client alone costs: consume, produce to one topic with the same partition, timestamp and one header,
offsets in the transaction. No hashing, no split, no limits, no metrics; the client settings are the router's.

python benchmarks/bare_loop.py SOURCE TARGET SECONDS: an endless loop, ended by SIGTERM; a transaction stays open for at
most so many seconds.
"""

import time

import click
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from stream_router.adapters.kafka.handler import LoopConfig
from stream_router.adapters.kafka.loop_clients import loop_consumer, loop_producer
from stream_router.adapters.kafka.outages import Outages
from stream_router.adapters.memory import handle_batches
from stream_router.settings import load_settings

HEADER = [("stream-router", b"epoch=1;split=1f3a9c0b77d2;rollout=3;t=1795420000123")]
BATCH = 5_000


@click.command()
@click.argument("source")
@click.argument("target")
@click.argument("seconds", type=float)
@click.option("--our-memory", is_flag=True, help="Handle memory as the router does.")
def main(source: str, target: str, seconds: float, *, our_memory: bool) -> None:
    """Copy one topic to another."""
    if our_memory:
        handle_batches()
    config = LoopConfig(
        topic=source, group=f"{target}.bare", instance="bare", dead_letters="", stage="", interval=seconds
    )
    settings, on_error = load_settings(), Outages().on_error
    producer = loop_producer(settings, config, on_error)._client  # noqa: SLF001 - the same settings, and no more
    consumer = loop_consumer(settings, config, on_error)
    producer.init_transactions(30)
    consumer.subscribe([source], on_assign=from_the_beginning)
    produce = producer.produce
    while True:
        messages = consumer.consume(BATCH, 0.1)
        if not messages:
            continue
        producer.begin_transaction()
        opened = time.monotonic()
        while True:
            for message in messages:
                if message.error() is None:
                    produce(
                        target,
                        message.value(),
                        message.key(),
                        message.partition(),
                        None,
                        None,
                        message.timestamp()[1],
                        HEADER,
                    )
            if len(messages) < BATCH or time.monotonic() - opened >= seconds:
                break
            messages = consumer.consume(BATCH, 0.01)
        producer.flush(10)
        positions = consumer.position(consumer.assignment())
        producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata(), 10)
        producer.commit_transaction(10)


def from_the_beginning(consumer: Consumer, partitions: list[TopicPartition]) -> None:
    consumer.incremental_assign([TopicPartition(at.topic, at.partition, OFFSET_BEGINNING) for at in partitions])


if __name__ == "__main__":
    main()
