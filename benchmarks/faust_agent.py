"""The router's work in a plain Faust agent: a tenth of the keys to canary, one header added.

python benchmarks/faust_agent.py BROKERS SOURCE STABLE CANARY: ended by SIGTERM. At least once: Faust's exactly_once has
a transaction for each partition, and stands still for seconds when it starts.
"""

import sys
from typing import Any

import faust
from xxhash import xxh3_64_intdigest

HEADER = ("stream-router", b"epoch=1;split=1f3a9c0b77d2;rollout=3;t=1795420000123")


def application(brokers: str, source: str, stable: str, canary: str) -> Any:
    app = faust.App(
        f"{source}.faust",
        broker=[f"kafka://{server}" for server in brokers.split(",")],
        key_serializer="raw",
        value_serializer="raw",
        consumer_auto_offset_reset="earliest",
        producer_compression_type="lz4",
        producer_linger_ms=5,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        store="memory://",
    )
    requests, to_stable, to_canary = (
        app.topic(name, key_type=bytes, value_type=bytes) for name in (source, stable, canary)
    )

    async def split(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            lane = to_canary if xxh3_64_intdigest(message.key) % 1000 < 100 else to_stable
            await lane.send(
                key=message.key,
                value=message.value,
                partition=message.partition,
                timestamp=message.timestamp,
                headers=[*(message.headers or ()), HEADER],
            )

    app.agent(requests)(split)
    return app


if __name__ == "__main__":
    app = application(*sys.argv[1:])
    sys.argv[1:] = ["worker", "--loglevel", "error", "--without-web"]
    app.main()
