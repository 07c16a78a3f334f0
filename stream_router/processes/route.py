"""The router: reads requests, assigns each to a lane, writes it there untouched but for one header."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import compress, repeat
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
import structlog

from stream_router.adapters.avro.records import encode_split
from stream_router.adapters.clock import now_ms
from stream_router.adapters.health import ASSIGNMENT, Health
from stream_router.adapters.http_server import serving
from stream_router.adapters.kafka.clients import ROOM, lane_partition_count, largest_message, topic_config
from stream_router.adapters.kafka.control_topics import ControlTopics
from stream_router.adapters.kafka.group import Start
from stream_router.adapters.kafka.handler import Delivery, LoopConfig
from stream_router.adapters.kafka.loop import TransactionLoop
from stream_router.adapters.kafka.polling import Record
from stream_router.adapters.kafka.record_headers import read_headers
from stream_router.adapters.kafka.transaction import Transaction
from stream_router.adapters.metrics import CANARY_WEIGHT, ROUTED, SPLIT_EPOCH
from stream_router.adapters.redis.routers import RedisRouterStore
from stream_router.adapters.redis.store import RedisSplitStore
from stream_router.adapters.redis.tracking import SplitTracking
from stream_router.core.lane import CANARY, LANES, STABLE
from stream_router.core.route import Route
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.header import HEADER, Routing
from stream_router.core.routing.lane_limits import LaneLimits
from stream_router.core.routing.partitioner import WeightedPartitioner, record_key
from stream_router.core.routing.routing_state import RoutingState
from stream_router.processes.router_reporter import RouterReporter
from stream_router.processes.split_watcher import SplitWatcher
from stream_router.settings import Settings, masked_url

T = TypeVar("T")
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
        self._lanes = np.array(limits.topics, object)
        self._routed_at = 0
        self._announced: tuple[Transaction, AppliedSplit] | None = None
        self.done = Routed()

    def due(self) -> bool:
        return self._state.must_write(self._in_force())

    def handle(self, records: Sequence[Record], transaction: Transaction) -> None:
        applied = self._in_force()
        SPLIT_EPOCH.labels(self._route.name).set(applied.epoch)
        CANARY_WEIGHT.labels(self._route.name).set(applied.canary)
        self._announce(applied, transaction)
        # The clock may fall, routed_at does not: windows run on it.
        self._routed_at = max(self._routed_at, now_ms())
        routing = (HEADER, Routing(applied.epoch, applied.digest, applied.rollout, self._routed_at).encode())
        only = [routing]
        headers, unreadable = read_headers(records)
        problems: dict[int, Exception] = dict(unreadable)
        values, keys = [record.value() for record in records], [record.key() for record in records]
        timestamps = [record.timestamp()[1] for record in records]
        now = self._routed_at
        oldest, has_headers = min(timestamps, default=now), any(headers)
        if self._limits.may_refuse(values, keys, headers if has_headers else (), oldest, now):
            fields = zip(values, keys, headers, timestamps, strict=True)
            found = ((index, self._limits.problem(*field, now)) for index, field in enumerate(fields))
            problems = {index: problem for index, problem in found if problem} | problems
        if problems:
            for index, problem in sorted(problems.items()):
                transaction.divert(records[index], index, problem, headers[index])
            left = [index not in problems for index in range(len(records))]
            records, values, keys = _kept(records, left), _kept(values, left), _kept(keys, left)
            headers, timestamps = _kept(headers, left), _kept(timestamps, left)
        to_canary = self._to_canary(records, keys, applied)
        canary = int(to_canary.sum())
        transaction.produce_all(
            self._topics(to_canary, canary),
            values,
            keys,
            [record.partition() for record in records],
            timestamps if oldest >= 0 else [max(0, timestamp) for timestamp in timestamps],
            [[*own, routing] if own else only for own in headers] if has_headers else repeat(only),
        )
        stable, dead_letters = len(records) - canary, len(problems)
        transaction.on_commit(lambda: self.done.add(stable=stable, canary=canary, dead_letters=dead_letters))

    def _topics(self, to_canary: npt.NDArray[np.bool_], canary: int) -> Iterable[str]:
        if canary == 0:
            return repeat(self._limits.topics[0])
        lanes: list[str] = self._lanes[to_canary.view(np.uint8)].tolist()
        return lanes

    def _announce(self, applied: AppliedSplit, transaction: Transaction) -> None:
        """The first transaction under a split writes it whole to R.splits."""
        if not self._state.must_write(applied) or self._announced == (transaction, applied):
            return
        self._announced = transaction, applied
        key = f"{applied.epoch}:{applied.digest}".encode()
        transaction.produce(self._route.topic("splits"), encode_split(applied), key, 0)
        transaction.on_commit(lambda: self._state.on_written(applied))

    def _to_canary(
        self, records: Sequence[Record], keys: Sequence[bytes | None], applied: AppliedSplit
    ) -> npt.NDArray[np.bool_]:
        if self._by_request or None in keys:
            keys = [
                record_key(None if self._by_request else key, record.topic(), record.partition(), record.offset())
                for record, key in zip(records, keys, strict=True)
            ]
        partitioner = WeightedPartitioner(self._route.name, applied.rollout)
        return partitioner.is_canary(cast("Sequence[bytes]", keys), applied.split)


def _kept(column: Sequence[T], selectors: Sequence[bool]) -> list[T]:
    return list(compress(column, selectors))


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
    store, routers = RedisSplitStore(route, settings), RedisRouterStore(route, settings)
    watcher = SplitWatcher(ControlTopics(settings, route), store, SplitTracking(route, settings), state)
    router = Router(route, state, watcher.in_force, limits, by_request=settings.route.assign_by == "request")
    reporter = RouterReporter(routers, instance, watcher.in_force)
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
        reporter.start()
        TransactionLoop(settings, config, router, health).run(stopped)
    finally:
        reporter.stop()
        watcher.stop()
        store.close()
        routers.close()
    _log.info("routing ended", **vars(router.done))
    return router.done


def _lane_limits(settings: Settings, route: Route) -> LaneLimits:
    """Raises TopicError where a lane has another number of partitions than the request topic."""
    lane_partition_count(settings, route)
    configs = [topic_config(settings, route.lane_topic(lane)) for lane in LANES]
    retentions = [int(config["retention.ms"]) for config in configs if int(config["retention.ms"]) >= 0]
    return LaneLimits(
        topics=(route.lane_topic("stable"), route.lane_topic("canary")),
        retention=min(retentions, default=None),
        max_bytes=min(int(config["max.message.bytes"]) for config in configs) - ROOM,
    )
