"""Predictions and their labels: as many as fast as can be, or at a rate; and how many of them a group has read."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from confluent_kafka import Consumer, Producer, TopicPartition
from workbench import PARTITIONS, Workbench

from stream_router.adapters.avro.labels import encode_label
from stream_router.adapters.avro.prediction_batch import PredictionBatch
from stream_router.adapters.avro.records import encode_split
from stream_router.core.lane import CANARY, LANES, STABLE
from stream_router.core.route import Route
from stream_router.core.routing.applied_split import AppliedSplit, Models, Versions
from stream_router.core.routing.header import Routing
from stream_router.core.scoring.model_output import ModelOutput

WINDOW: Final = 60_000
"""Milliseconds: the policy's own."""

_BLOCK: Final = 10_000
"""So many predictions are followed by their labels: both inputs come in the same order of times."""

_BATCH: Final = 250
"""Of a scoring job."""

_ROLLOUT: Final = 1
_VERSIONS: Final = Versions(stable="1", canary="2")
_DAY: Final = 86_400_000
_DURATION: Final = 50
"""Milliseconds between request, routing and score."""


@dataclass(frozen=True)
class Traffic:
    """`each` requests are routed in a window, then as many in the next, over and over through `windows` of them up to
    now; `labelled` tells whether labels come, too.
    """

    rollout: bool = False
    windows: int = 1
    each: int = _BATCH
    labelled: bool = True


def split_of(traffic: Traffic) -> AppliedSplit:
    """The one under which all was routed: without a rollout all to stable."""
    if not traffic.rollout:
        return AppliedSplit(epoch=1, models=Models(stable=_VERSIONS.stable))
    return AppliedSplit(
        raw=b'{"stable": 0.9, "canary": 0.1}',
        canary=0.1,
        epoch=1,
        rollout=_ROLLOUT,
        bound=_VERSIONS,
        models=Models(stable=_VERSIONS.stable, canary=_VERSIONS.canary),
    )


def put_in_force(brokers: str, route: Route, traffic: Traffic) -> None:
    """As a router tells R.splits, a day ago: if it is a rollout's, the controller starts this."""
    producer = Producer({"bootstrap.servers": brokers})
    applied = replace(split_of(traffic), time=int(time.time() * 1000) - _DAY)
    producer.produce(route.topic("splits"), encode_split(applied))
    producer.flush()


def fill_pairs(brokers: str, route: Route, count: int, traffic: Traffic, first: int = 0) -> None:
    """Write so many from number `first` on, and wait until they are there."""
    producer = _producer(brokers, linger=50)
    now = int(time.time() * 1000)
    for begin in range(first, first + count, _BLOCK):
        numbers = range(begin, min(begin + _BLOCK, first + count))
        for number, value in predictions(numbers, traffic, now):
            _produce(producer, route.topic("predictions"), value, request_id(number))
        if traffic.labelled:
            for number in numbers:
                value = encode_label(request_id(number), truth(number))
                _produce(producer, route.topic("ground-truth"), value, request_id(number))
    producer.flush()


def feed_pairs(brokers: str, route: Route, rate: int, traffic: Traffic) -> None:
    """At so many a second until killed; each label a second after its prediction.

    Twenty times a second, as a scoring job's batches come: the broker's cost is that of the requests it gets.
    """
    producer, began, sent = _producer(brokers, linger=5), time.monotonic(), 0
    while True:
        due = int((time.monotonic() - began) * rate)
        now = int(time.time() * 1000)
        for number, value in predictions(range(sent, due), traffic, now):
            _produce(producer, route.topic("predictions"), value, request_id(number))
        for number in range(max(0, sent - rate), max(0, due - rate)):
            value = encode_label(request_id(number), truth(number))
            _produce(producer, route.topic("ground-truth"), value, request_id(number))
        sent = due
        producer.poll(0)
        time.sleep(0.05)


def predictions(numbers: range, traffic: Traffic, now: int) -> Iterator[tuple[int, bytes]]:
    """Each number with the value of its record; in a rollout a tenth is canary's. Nine tenths are right."""
    split = split_of(traffic)
    for begin in range(numbers.start, numbers.stop, _BATCH):
        later = traffic.windows - 1 - begin // traffic.each % traffic.windows
        routed_at = now - _DURATION - later * WINDOW
        routing = Routing(split.epoch, split.digest, split.rollout, routed_at)
        batches = {
            lane: PredictionBatch(
                lane=lane,
                scored_at=routed_at + _DURATION,
                model_version=version,
                model_digest="sha256:5b1f",
                batch_id=request_id(begin),
                batch_size=_BATCH,
                model_seconds=1e-5,
            )
            for lane, version in zip(LANES, (_VERSIONS.stable, _VERSIONS.canary), strict=True)
            if version is not None
        }
        for number in range(begin, min(begin + _BATCH, numbers.stop)):
            lane = CANARY if traffic.rollout and number % 10 == 0 else STABLE
            output = ModelOutput((truth(number) + (number // 10 % 10 == 0)) % 3, None)
            key, requested_at, index = b"user-%d" % (number % 50_000), routed_at - _DURATION, number - begin
            yield number, batches[lane].encode(request_id(number), key, routing, requested_at, index, output)


def truth(number: int) -> int:
    """One of three classes."""
    return number % 3


def request_id(number: int) -> str:
    """36 characters, as a UUID has."""
    return f"{number:08x}-0000-4000-8000-{number * 0x9E3779B97F4A7C15 % 2**48:012x}"


class Progress:
    """How far a group has read predictions and labels, by the offsets that it has committed: in pairs."""

    def __init__(self, bench: Workbench, route: Route, group: str) -> None:
        # read_uncommitted: else the question waits for the open transaction of a process that was killed
        contract = {"group.id": group, "isolation.level": "read_uncommitted"}
        self._group = Consumer(contract | {"bootstrap.servers": bench.brokers})
        topics = (route.topic("predictions"), route.topic("ground-truth"))
        self._inputs = [TopicPartition(topic, partition) for topic in topics for partition in range(PARTITIONS)]

    def records(self) -> int:
        """Of both topics."""
        return sum(max(0, side.offset) for side in self._group.committed(self._inputs, 10))

    def pairs(self) -> int:
        return self.records() // 2

    def close(self) -> None:
        self._group.close()


def _producer(brokers: str, linger: int) -> Producer:
    return Producer(
        {
            "bootstrap.servers": brokers,
            "partitioner": "murmur2_random",
            "linger.ms": linger,
            "log_level": 3,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
        }
    )


def _produce(producer: Producer, topic: str, value: bytes, key: str) -> None:
    while True:
        try:
            producer.produce(topic, value, key)
        except BufferError:
            producer.poll(0.05)
        else:
            return
