"""The router: reads requests, assigns each to a lane, writes it there untouched but for one header."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from stream_router.adapters.kafka import ROOM, Record, Start, largest_message, partition_count, topic_config
from stream_router.adapters.loop import Delivery, LoopConfig, Output
from stream_router.adapters.metrics import CANARY_WEIGHT, ROUTED, SPLIT_EPOCH
from stream_router.adapters.records import encode_law
from stream_router.adapters.redis import RedisLaw
from stream_router.adapters.transactions import TransactionLoop
from stream_router.core.lane import CANARY, LANES, STABLE
from stream_router.core.route import Route
from stream_router.core.routing.header import HEADER, Routing
from stream_router.core.routing.law import Law
from stream_router.core.routing.partitioner import assign_canary, record_key, rollout_seed
from stream_router.core.routing.routing_state import RoutingState
from stream_router.core.routing.split import parse_split
from stream_router.errors import LaneError, TopicError
from stream_router.processes.law_keeper import LawKeeper
from stream_router.settings import Settings

Headers = list[tuple[str, bytes | None]]

_log = structlog.get_logger()


@dataclass
class Routed:
    """What a router has done, committed transactions only; `routed` counts both lanes."""

    routed: int = 0
    canary: int = 0
    dead_letters: int = 0


@dataclass(frozen=True)
class LaneLimits:
    """What the lanes' topics (stable, canary) can hold: `retention` in milliseconds, None for ever."""

    topics: tuple[str, str]
    retention: int | None
    max_bytes: int

    def problem(
        self, value: bytes | None, key: bytes | None, headers: Headers | None, timestamp: int, now: int
    ) -> LaneError | None:
        """Why the lane cannot hold the record; `timestamp` and `now` in milliseconds since the epoch."""
        if self.retention is not None and 0 <= timestamp < now - self.retention:
            return LaneError(f"its time {timestamp} is older than the lane's retention.ms {self.retention} allows")
        size = len(value or b"") + len(key or b"")
        if headers:
            size += sum(len(name) + len(content or b"") + 8 for name, content in headers)
        if size > self.max_bytes:
            return LaneError(f"it has {size} bytes, and the lane's topics hold {self.max_bytes}")
        return None


class Router:
    """Handler of the transaction loop."""

    def __init__(self, route: Route, state: RoutingState, limits: LaneLimits, *, by_request: bool) -> None:
        self._route, self._state, self._limits, self._by_request = route, state, limits, by_request
        self._routed_at = 0
        self._written: list[Law] = []
        self.done, self._open = Routed(), Routed()

    def due(self) -> bool:
        return self._state.must_write(self._state.law)

    def committed(self) -> None:
        for law in self._written:
            self._state.on_written(law)
        self._written.clear()
        ROUTED.labels(STABLE).inc(self._open.routed - self._open.canary)
        ROUTED.labels(CANARY).inc(self._open.canary)
        self.done.routed += self._open.routed
        self.done.canary += self._open.canary
        self.done.dead_letters += self._open.dead_letters
        self._open = Routed()

    def aborted(self) -> None:
        self._written.clear()
        self._open = Routed()

    def handle(self, messages: Sequence[Record], output: Output) -> None:
        law = self._state.law
        SPLIT_EPOCH.set(law.epoch)
        CANARY_WEIGHT.set(law.canary)
        if self._state.must_write(law) and law not in self._written:
            law_key = f"{law.epoch}:{law.digest}".encode()
            output.produce(self._route.topic("splits"), encode_law(law), law_key, 0, 0, None)
            self._written.append(law)
        # The clock may fall, routed_at does not: windows run on it.
        self._routed_at = max(self._routed_at, time.time_ns() // 1_000_000)
        routing = (HEADER, Routing(law.epoch, law.digest, law.rollout, self._routed_at).encode())
        only = [routing]
        stable, canary = self._limits.topics
        dead = 0
        for index, (message, to_canary) in enumerate(zip(messages, self._assign(messages, law), strict=True)):
            value, key, headers, timestamp = message.value(), message.key(), message.headers(), message.timestamp()[1]
            if problem := self._limits.problem(value, key, headers, timestamp, self._routed_at):
                output.divert(message, problem, index)
                dead += 1
                continue
            output.produce(
                canary if to_canary else stable,
                value,
                key,
                message.partition(),
                max(0, timestamp),
                [*headers, routing] if headers else only,
            )
            self._open.canary += to_canary
        self._open.routed += len(messages) - dead
        self._open.dead_letters += dead

    def _assign(self, messages: Sequence[Record], law: Law) -> list[bool]:
        keys = [
            record_key(None if self._by_request else m.key(), m.topic(), m.partition(), m.offset()) for m in messages
        ]
        seed = rollout_seed(self._route.name, law.rollout)
        lanes: list[bool] = assign_canary(keys, parse_split(law.raw), seed).tolist()
        return lanes


def route_requests(
    settings: Settings,
    route: Route,
    *,
    instance: str,
    start: Start,
    delivery: Delivery,
    interval: float,
    stop: Callable[[], bool],
) -> Routed:
    """Route until `stop()`. `interval`: seconds that a transaction stays open. Returns what was routed.

    Raises TopicError where the lanes do not match the request topic, UnreachableError, FencedError.
    """
    limits = _lane_limits(settings, route)
    state = RoutingState(who=f"router {instance}")
    store = RedisLaw(route, settings)
    keeper = LawKeeper(settings, route, store, state, f"router {instance}")
    router = Router(route, state, limits, by_request=settings.policy.assign_by == "request")
    config = LoopConfig(
        topic=route.topic("requests"),
        group=route.router_group,
        instance=instance,
        dead_letters=route.topic("dead-letters"),
        stage="route",
        start=start,
        interval=interval,
        delivery=delivery,
        max_message_bytes=largest_message(settings, route.topic("dead-letters")),
    )
    keeper.start()

    def stopped() -> bool:
        if keeper.failure is not None:
            raise keeper.failure
        return stop()

    try:
        TransactionLoop(settings, config, router).run(stopped)
    finally:
        keeper.stop()
        store.close()
    _log.info("routing ended", **vars(router.done))
    return router.done


def _lane_limits(settings: Settings, route: Route) -> LaneLimits:
    """Raises TopicError where a lane has another number of partitions than the request topic."""
    requests = route.topic("requests")
    wanted, configs = partition_count(settings, requests), []
    for lane in LANES:
        topic = route.lane_topic(lane)
        if (found := partition_count(settings, topic)) != wanted:
            raise TopicError(
                f"topic {topic} has {found} partitions and {requests} has {wanted}: the lanes keep the partition of "
                "each request, so give them as many partitions",
            )
        configs.append(topic_config(settings, topic))
    retentions = [int(config["retention.ms"]) for config in configs if int(config["retention.ms"]) >= 0]
    return LaneLimits(
        topics=(route.lane_topic("stable"), route.lane_topic("canary")),
        retention=min(retentions, default=None),
        max_bytes=min(int(config["max.message.bytes"]) for config in configs) - ROOM,
    )
