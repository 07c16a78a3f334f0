"""Records with header names that are not UTF-8: Kafka takes them, the Python clients refuse to send them."""

import asyncio
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy


class _RawName(str):
    __slots__ = ("raw",)
    raw: bytes

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        del encoding, errors
        return self.raw


def raw_name(raw: bytes) -> str:
    """What the builder of a batch takes for a text and writes as these bytes."""
    name = _RawName(raw.decode(errors="replace"))
    name.raw = raw
    return name


def produce_batch(
    bootstrap: str,
    topic: str,
    records: Sequence[tuple[bytes | None, bytes | None, Mapping[bytes, bytes]]],
    partition: int = 0,
) -> None:
    """Write key, value and headers, the names of these as they are, in one batch."""

    async def produce() -> None:
        async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=False) as producer:
            batch = producer.create_batch()
            batch._builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, 0, 1_000_000)  # noqa: SLF001 - nothing public writes such a name
            for key, value, headers in records:
                named = [(raw_name(name), content) for name, content in headers.items()]
                batch.append(timestamp=None, key=key, value=value, headers=named)
            batch.close()
            await (await producer.send_batch(batch, topic, partition=partition))

    asyncio.run(produce())
