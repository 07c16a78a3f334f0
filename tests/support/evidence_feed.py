"""Predictions and labels as the world sends them: early, late, twice, revised, never, foreign, aborted, unreadable."""

import random
import threading
import time
from collections import defaultdict

from confluent_kafka import Producer

from stream_router.adapters.avro.labels import encode_label
from stream_router.adapters.avro.records import encode_prediction
from stream_router.core.policy import Policy
from stream_router.core.route import Route
from stream_router.core.scoring.prediction import Prediction

_TURN = 0.05
"""Seconds: one transaction a side."""


class Feed(threading.Thread):
    """Sends `requests` requests at `rate` a second, then ends. Everything is decided by the seed but the clock.

    The last third waits until `released` is set.
    """

    def __init__(self, servers: str, route: Route, policy: Policy, *, requests: int, rate: int, seed: int) -> None:
        super().__init__(name="feed", daemon=True)
        self._servers, self._route, self._policy = servers, route, policy
        self._requests, self._per_turn = requests, max(1, round(rate * _TURN))
        self._chance = random.Random(seed)
        self.unreadable: list[bytes] = []
        self.sent = 0
        self.released = threading.Event()

    def run(self) -> None:
        topics = self._route.topic("predictions"), self._route.topic("ground-truth")
        producers = [self._producer(topic) for topic in topics]
        later: dict[int, tuple[list[tuple[str, bytes]], list[tuple[str, bytes]]]] = defaultdict(lambda: ([], []))
        turn, begun = 0, time.monotonic()
        while self.sent < self._requests or later:
            free = self._requests if self.released.is_set() else self._requests * 2 // 3
            for _ in range(min(self._per_turn, free - self.sent)):
                self._request(turn, later)
                self.sent += 1
            for side, records in enumerate(later.pop(turn, ([], []))):
                if turn % 20 == side:
                    self._transaction(
                        producers[side], topics[side], [(key, b"aborted") for key, _ in records], commit=False
                    )
                self._transaction(producers[side], topics[side], records, commit=True)
            turn += 1
            time.sleep(max(0.0, begun + turn * _TURN - time.monotonic()))

    def _request(self, turn: int, later: dict[int, tuple[list[tuple[str, bytes]], list[tuple[str, bytes]]]]) -> None:
        chance, name, now = self._chance, f"request-{self.sent:06}", time.time_ns() // 1_000_000
        kind = chance.random()
        too_late = kind < 0.02
        late, foreign = 0.02 <= kind < 0.04, 0.04 <= kind < 0.06
        slow = chance.randrange(20) if kind > 0.9 else 0
        prediction = turn + slow
        value, truth = chance.random() < 0.5, chance.random() < 0.5
        error = None if chance.random() < 0.98 else "no answer"
        encoded = encode_prediction(
            Prediction(
                request_id=name,
                key=None if chance.random() < 0.2 else f"entity-{chance.randrange(500)}".encode(),
                lane=chance.choice(["stable", "stable", "canary"]),
                rollout=int(self.sent > self._requests // 10),
                epoch=int(not foreign),
                digest="" if foreign else "0" * 12,
                routed_at=now - 2 * (self._policy.window + self._policy.label_horizon) * too_late,
                requested_at=now - 5,
                scored_at=now + 5 + self._policy.prediction_deadline * late,
                model_version="v1",
                model_digest=None,
                batch_id="b",
                batch_index=0,
                batch_size=1,
                model_seconds=0.0,
                value=None if error else value,
                error=error,
            )
        )
        for _ in range(1 + (chance.random() < 0.02)):
            later[prediction][0].append((name, encoded))
        if chance.random() < 0.1:
            return  # no label, ever
        label = turn if slow else turn + chance.randrange(30)
        later[label][1].append((name, encode_label(name, truth)))
        if chance.random() < 0.2:
            later[label + chance.randrange(30)][1].append((name, encode_label(name, chance.random() < 0.5)))
        if chance.random() < 0.002:
            nonsense = chance.choice([b"", b"\xc3\x01nonsense", b"{}", encoded[:-3]])
            later[label][chance.randrange(2)].append((name, nonsense))
            self.unreadable.append(nonsense)

    def _producer(self, topic: str) -> Producer:
        producer = Producer(
            {
                "bootstrap.servers": self._servers,
                "transactional.id": f"feed-{topic}",
                "partitioner": "murmur2_random",
                "retry.backoff.ms": 10,
            }
        )
        producer.init_transactions(30)
        return producer

    def _transaction(self, producer: Producer, topic: str, records: list[tuple[str, bytes]], *, commit: bool) -> None:
        producer.begin_transaction()
        for key, value in records:
            producer.produce(topic, value, key)
        producer.flush()
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
