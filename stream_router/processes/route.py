"""The router: reads requests, assigns each to a lane, writes it there untouched but for one header."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from stream_router.adapters.avro.records import encode_split
from stream_router.adapters.clock import now_ms
from stream_router.adapters.health import ASSIGNMENT, Health
from stream_router.adapters.http_server import serving
from stream_router.adapters.kafka.clients import ROOM, largest_message, partition_count, topic_config
from stream_router.adapters.kafka.control_topics import ControlTopics
from stream_router.adapters.kafka.group import Start
from stream_router.adapters.kafka.handler import Delivery, LoopConfig
from stream_router.adapters.kafka.loop import TransactionLoop
from stream_router.adapters.kafka.polling import UNREADABLE, Record, unreadable_headers
from stream_router.adapters.kafka.producers import Headers
from stream_router.adapters.kafka.transaction import Transaction
from stream_router.adapters.metrics import CANARY_WEIGHT, ROUTED, SPLIT_EPOCH
from stream_router.adapters.redis.store import RedisSplitStore
from stream_router.core.lane import CANARY, LANES, STABLE
from stream_router.core.route import Route
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.header import HEADER, Routing
from stream_router.core.routing.partitioner import WeightedPartitioner, record_key
from stream_router.core.routing.routing_state import RoutingState
from stream_router.errors import LaneError, TopicError
from stream_router.processes.split_watcher import SplitWatcher
from stream_router.settings import Settings, masked_url

_log = structlog.get_logger()


@dataclass
class Routed:
    """What a router has done, committed transactions only; `routed` counts both lanes."""

    routed: int = 0
    canary: int = 0
    dead_letters: int = 0

    def add(self, *, stable: int, canary: int, dead_letters: int) -> None:
        ROUTED.labels(STABLE).inc(stable)
        ROUTED.labels(CANARY).inc(canary)
        self.routed += stable + canary
        self.canary += canary
        self.dead_letters += dead_letters


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
    """Handler of the transaction loop; `in_force` tells the split to route by at this moment."""

    def __init__(
        self,
        route: Route,
        state: RoutingState,
        in_force: Callable[[], AppliedSplit],
        limits: LaneLimits,
        *,
        by_request: bool,
    ) -> None:
        self._route, self._state, self._in_force = route, state, in_force
        self._limits, self._by_request = limits, by_request
        self._routed_at = 0
        self._announced: tuple[Transaction, AppliedSplit] | None = None
        self.done = Routed()

    def due(self) -> bool:
        return self._state.must_write(self._in_force())

    def handle(self, records: Sequence[Record], transaction: Transaction) -> None:
        applied = self._in_force()
        SPLIT_EPOCH.set(applied.epoch)
        CANARY_WEIGHT.set(applied.canary)
        self._announce(applied, transaction)
        # The clock may fall, routed_at does not: windows run on it.
        self._routed_at = max(self._routed_at, now_ms())
        routing = (HEADER, Routing(applied.epoch, applied.digest, applied.rollout, self._routed_at).encode())
        only = [routing]
        stable_topic, canary_topic = self._limits.topics
        canary = dead_letters = 0
        for index, (record, to_canary) in enumerate(zip(records, self._assign(records, applied), strict=True)):
            try:
                headers = record.headers()
            except UNREADABLE as error:
                transaction.divert(record, index, unreadable_headers(error), None)
                dead_letters += 1
                continue
            value, key, timestamp = record.value(), record.key(), record.timestamp()[1]
            if problem := self._limits.problem(value, key, headers, timestamp, self._routed_at):
                transaction.divert(record, index, problem, headers)
                dead_letters += 1
                continue
            transaction.produce(
                canary_topic if to_canary else stable_topic,
                value,
                key,
                record.partition(),
                max(0, timestamp),
                [*headers, routing] if headers else only,
            )
            canary += to_canary
        stable = len(records) - dead_letters - canary
        transaction.on_commit(lambda: self.done.add(stable=stable, canary=canary, dead_letters=dead_letters))

    def _announce(self, applied: AppliedSplit, transaction: Transaction) -> None:
        """The first transaction under a split writes it whole to R.splits."""
        if not self._state.must_write(applied) or self._announced == (transaction, applied):
            return
        self._announced = transaction, applied
        key = f"{applied.epoch}:{applied.digest}".encode()
        transaction.produce(self._route.topic("splits"), encode_split(applied), key, 0)
        transaction.on_commit(lambda: self._state.on_written(applied))

    def _assign(self, records: Sequence[Record], applied: AppliedSplit) -> list[bool]:
        keys = [
            record_key(None if self._by_request else record.key(), record.topic(), record.partition(), record.offset())
            for record in records
        ]
        lanes: list[bool] = (
            WeightedPartitioner(self._route.name, applied.rollout).is_canary(keys, applied.split).tolist()
        )
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

    Raises TopicError where the lanes do not match the request topic, UnreachableError, FencedError, GapError.
    """
    health = Health(
        "the router's loop", {"split": "no split is known yet", ASSIGNMENT: "not a member of the group yet"}
    )
    with serving(settings, health) as address:
        _log.info(
            "router starts",
            route=route.name,
            instance=instance,
            delivery=delivery,
            brokers=settings.bootstrap_servers,
            redis=masked_url(settings.redis_url.get_secret_value()),
            metrics=address,
        )
        return _route(settings, route, instance, start, delivery, interval, stop, health)


def _route(
    settings: Settings,
    route: Route,
    instance: str,
    start: Start,
    delivery: Delivery,
    interval: float,
    stop: Callable[[], bool],
    health: Health,
) -> Routed:
    limits = _lane_limits(settings, route)
    state = RoutingState(who=f"router {instance}")
    store = RedisSplitStore(route, settings)
    watcher = SplitWatcher(ControlTopics(settings, route), store, state)
    router = Router(route, state, watcher.in_force, limits, by_request=settings.policy.assign_by == "request")
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

    def stopped() -> bool:
        watcher.check()
        if watcher.ready:
            health.ready("split")
        else:
            health.not_ready("split", "the thread that follows the split hangs")
        return stop()

    try:
        watcher.start()
        TransactionLoop(settings, config, router, health).run(stopped)
    finally:
        watcher.stop()
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
