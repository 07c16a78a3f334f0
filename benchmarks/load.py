"""Requests: as many as fast as can be, or at a rate with the time at which each was sent."""

import multiprocessing
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from confluent_kafka import Producer

VALUE: Final = 200
"""Bytes of a request."""

KEYS: Final = 50_000

Outgoing = tuple[bytes, list[tuple[str, str | bytes | None]]]
"""Value and headers."""

_STAMP: Final = struct.Struct(">qq")
_NOISE: Final = os.urandom(2**20)
_REST: Final = b"x" * (VALUE - VALUE // 2)


def plain(number: int) -> Outgoing:
    """Half noise, half text: it can be compressed to a half or so, as requests can, and no two in a batch are alike."""
    start = number * VALUE % (len(_NOISE) - VALUE)
    return _NOISE[start : start + VALUE // 2] + _REST, []


def fill(brokers: str, topic: str, records: int, outgoing: Callable[[int], Outgoing] = plain) -> None:
    """Write so many, and wait until they are there."""
    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "partitioner": "murmur2_random",
            "linger.ms": 50,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    for number in range(records):
        value, headers = outgoing(number)
        while True:
            try:
                producer.produce(topic, value, key_of(number), headers=headers)
                break
            except BufferError:
                producer.poll(0.05)
        if number % 1_000 == 0:
            producer.poll(0)
    producer.flush()


def feed(brokers: str, topic: str, rate: int) -> None:
    """Stamped requests at this rate until killed."""
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 1, "partitioner": "murmur2_random"})
    rest, began, sent = plain(0)[0][_STAMP.size :], time.monotonic(), 0
    while True:
        due = int((time.monotonic() - began) * rate)
        for number in range(sent, due):
            producer.produce(topic, _STAMP.pack(number, time.monotonic_ns()) + rest, key_of(number))
        sent = max(sent, due)
        producer.poll(0)
        time.sleep(0.002)


def stamp_of(value: bytes) -> tuple[int, int]:
    """The number of a stamped request, and when it was sent, in nanoseconds of the machine's monotonic clock."""
    number, sent_at = _STAMP.unpack_from(value)
    return number, sent_at


def key_of(number: int) -> bytes:
    return b"user-%d" % (number % KEYS)


@contextmanager
def beside(function: Callable[..., None], *arguments: object) -> Iterator[None]:
    """In a process of its own, killed at the end of the block."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()
