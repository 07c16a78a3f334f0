"""The monitor: a Faust app that joins predictions with ground truth and writes R.evidence."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import structlog
from aiokafka.errors import KafkaError
from faust.types import TP

from stream_router.adapters.bad import load_bad
from stream_router.adapters.clock import monotonic_ms, now_ms
from stream_router.adapters.faust.chunks import ChunkApp
from stream_router.adapters.faust.credentials import faust_credentials
from stream_router.adapters.health import ASSIGNMENT, Health
from stream_router.adapters.http_server import serving
from stream_router.adapters.kafka.clients import partition_count, session
from stream_router.adapters.kafka.dead_letters import DeadLetters
from stream_router.adapters.kafka.evidence_log import EvidenceLog
from stream_router.adapters.metrics import JOIN_LAG, JOIN_ROWS, LAST_LABEL, WAITING_LABELS, Served
from stream_router.core.route import Route, Topic
from stream_router.errors import StreamRouterError, TopicError
from stream_router.processes.clock_check import ClockCheck
from stream_router.processes.controller import control
from stream_router.processes.intake import Intake
from stream_router.processes.known_splits import KnownSplits
from stream_router.processes.owner import Owner, State
from stream_router.processes.retention import check_retention
from stream_router.processes.rows_on_disk import RowsOnDisk
from stream_router.processes.shared import Shared, Side
from stream_router.settings import Settings, masked_url, policy_of

Service = Callable[[threading.Event], None]
"""Runs in a thread beside the app until the event is set; what it raises stops the process."""

_WATERMARK_EVERY: Final = 1.0
"""Seconds between watermarks."""

_GATHER: Final = 1.0
"""Seconds for which records may gather while canary has no share: nobody waits for a verdict."""

_GATHER_FOR_VERDICT: Final = 0.04
"""The same while it has one: bad answers go on so much longer."""

_ANSWER_TIMEOUT: Final = 3.0
"""Seconds after which Kafka does not answer."""

_POLL: Final = 0.1
"""Seconds between looks at whether to stop."""

_STOP_TIMEOUT: Final = 15.0
"""Seconds that a flush may still take at the end, and Faust to leave its group."""

_ORDERED: Final[tuple[Topic, ...]] = ("evidence", "splits", "rollout-events", "windowed-accuracy", "verdict-state")
"""Topics whose records have one order."""

_log = structlog.get_logger()


def run_monitor(
    settings: Settings,
    route: Route,
    *,
    worker: str,
    stop: Callable[[], bool],
    services: Sequence[Service] | None = None,
) -> None:
    """Join until `stop()`, and be the route's controller beside it whenever the group says so.

    `worker` names the process in its evidence; `services` stand in for the controller. Raises TopicError,
    UnreachableError at the start; SettingError, also for a horizon beyond what a topic keeps; PolicyError; ModelError
    for the route's bad; DeadLetterLimitError, and what a service raises.
    """
    policy = policy_of(settings)

    def controller(ending: threading.Event) -> None:
        control(settings, route, policy, worker, ending)

    health = Health("the monitor's event loop", {ASSIGNMENT: "not a member of the group yet"})
    with serving(settings, health) as address:
        _log.info(
            "monitor starts",
            route=route.name,
            worker=worker,
            brokers=settings.bootstrap_servers,
            redis=masked_url(settings.redis_url.get_secret_value()),
            metrics=address,
        )
        partitions = _check_topics(settings, route)
        check_retention(settings, route, policy)
        beside = [controller] if services is None else services
        asyncio.run(_run(settings, route, worker, partitions, beside, stop, health))


def build_app(settings: Settings, route: Route) -> ChunkApp:
    """The Faust app: a member of the group R.monitor, without tables, web server or topics of its own."""
    kafka, member = settings.kafka, session(settings, 6_000, 500)
    return ChunkApp(
        route.monitor_group,
        broker=[f"kafka://{server.strip()}" for server in settings.bootstrap_servers.split(",")],
        broker_credentials=faust_credentials(kafka),
        broker_client_id=kafka.get("client.id", "stream-router"),
        broker_session_timeout=member["session.timeout.ms"] / 1000,
        broker_heartbeat_interval=member["heartbeat.interval.ms"] / 1000,
        broker_request_timeout=30.0,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        stream_wait_empty=False,  # else each revocation costs up to a second
        stream_buffer_maxsize=64,  # of chunks
    )


class Monitor:
    """Gives each assigned partition an owner, brings it its chunks, and asks for the ends once a second."""

    def __init__(
        self, settings: Settings, route: Route, worker: str, partitions: int, app: ChunkApp, health: Health
    ) -> None:
        self._app, self._route, self._health = app, route, health
        policy, clock = settings.route.to_policy(), ClockCheck(route.name, health)
        dead_letters = DeadLetters.of(settings, route.topic("dead-letters"), "monitor")
        self._shared = Shared(
            app=app,
            log=EvidenceLog(settings, route),
            policy=policy,
            worker=worker,
            partitions=partitions,
            splits=KnownSplits(settings, route),
            intake=Intake(dead_letters, policy, clock.broker_time),
            clock=clock,
            early_limit=settings.early_limit,
            bad=None if policy.bad is None else load_bad(policy.bad),
            disk=None if settings.state_folder is None else RowsOnDisk(settings, route, settings.state_folder),
        )
        self._served = Served()
        self._owners: dict[int, Owner] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.failure: BaseException | None = None
        app.listener = self
        self._read("predictions", route.topic("predictions"))
        self._read("ground_truth", route.topic("ground-truth"))

    def fail(self, error: BaseException) -> None:
        """The first failure is what the process ends with."""
        self.failure = self.failure or error

    def start(self, work: Any) -> None:
        """Run a coroutine beside the app; what it raises is a failure."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.fail(error)

    def on_assigned(self, assigned: set[TP]) -> None:
        predictions, labels = (
            {tp.partition for tp in assigned if tp.topic == self._route.topic(topic)}
            for topic in ("predictions", "ground-truth")
        )
        if predictions != labels:
            self.fail(StreamRouterError(f"the group parts the inputs: predictions {predictions}, labels {labels}"))
        for partition in set(self._owners) - labels:
            self._owners.pop(partition).drop()
        for partition in labels - set(self._owners):
            self._owners[partition] = Owner(self._shared, partition)
            self.start(self._owners[partition].run())
        self._health.ready(ASSIGNMENT)
        _log.info("partitions assigned", partitions=sorted(labels))

    async def on_resume(self) -> None:
        for owner in list(self._owners.values()):
            await owner.resume()

    def patience(self) -> float:
        """See Listener."""
        if any(owner.state is not State.JOINING for owner in self._owners.values()):
            return 0.0
        newest = self._shared.splits.history.newest
        return _GATHER if newest is None or newest.canary == 0 else _GATHER_FOR_VERDICT

    def _read(self, side: Side, topic: str) -> None:
        async def read(stream: Any) -> None:
            async for event in stream.events():
                owner = self._owners.get(event.message.partition)
                try:
                    if owner is not None:
                        await owner.on_chunk(side, event.value)
                except Exception as error:  # noqa: BLE001 - Faust would log it and go on with the next chunk
                    self.fail(error)

        self._app.agent(self._app.chunks(topic), name=side)(read)

    def _measure(self) -> None:
        """Serve how far the owners are."""
        found = [progress for owner in self._owners.values() if (progress := owner.progress)]
        name, serve = (self._route.name,), self._served.serve
        serve(JOIN_ROWS, {name: sum(progress.rows for progress in found)})
        serve(WAITING_LABELS, {name: sum(progress.waiting_labels for progress in found)})
        newest = max((progress.newest_label for progress in found), default=0)
        if newest or not self._owners:  # one that takes over anew has read none yet
            serve(LAST_LABEL, {name: newest / 1000} if newest else {})
        watermarks = [progress.watermark for progress in found if progress.watermark]
        now = self._shared.clock.broker_time.at(monotonic_ms()) or now_ms()
        serve(JOIN_LAG, {name: (now - min(watermarks)) / 1000} if watermarks else {})

    async def offer_watermarks(self) -> None:
        """Once a second: read the clock, then ask for the ends."""
        while True:
            await asyncio.sleep(_WATERMARK_EVERY)
            self._measure()
            clock, owners = now_ms(), [owner for owner in self._owners.values() if owner.reads]
            if not owners or self._app.rebalancing:
                continue
            try:
                ends = await self._ends(set().union(*(owner.inputs for owner in owners)))
            except KafkaError as error:
                _log.warning("no watermark", error=str(error))
                self._health.kafka(str(error))
                continue
            self._health.kafka(None)
            for owner in owners:
                owner.offer_watermark(clock, ends)

    async def _ends(self, inputs: set[TP]) -> dict[TP, int]:
        asking = asyncio.ensure_future(self._app.stable_ends(inputs))
        answered, _ = await asyncio.wait({asking}, timeout=_ANSWER_TIMEOUT)
        if not answered:
            self._health.kafka(f"the ends of the inputs are not told for more than {_ANSWER_TIMEOUT:g} s")
        return await asking

    async def close(self) -> None:
        """Let each owner end its flush, then stop."""
        for owner in self._owners.values():
            owner.drop()
        await asyncio.sleep(0)
        owners = [task for task in self._tasks if not task.done()]
        _, late = await asyncio.wait(owners, timeout=_STOP_TIMEOUT) if owners else (set(), set())
        for task in late:
            task.cancel()
        self._shared.splits.close()


async def _run(
    settings: Settings,
    route: Route,
    worker: str,
    partitions: int,
    services: Sequence[Service],
    stop: Callable[[], bool],
    health: Health,
) -> None:
    app = build_app(settings, route)
    monitor = Monitor(settings, route, worker, partitions, app, health)
    with _running(services, monitor, asyncio.get_running_loop()):
        app.finalize()
        watermarks = asyncio.ensure_future(monitor.offer_watermarks())
        # It does not come back from a group that refuses it.
        starting = asyncio.ensure_future(_started(app, route, worker))
        while not stop() and monitor.failure is None:
            health.beat()
            if app.crashed:
                monitor.fail(app.crash_reason)
            for task in (starting, watermarks):
                if task.done():
                    task.result()
            await asyncio.sleep(_POLL)
        watermarks.cancel()
        starting.cancel()
        await monitor.close()
        try:
            await asyncio.wait_for(app.stop(), _STOP_TIMEOUT)
        except TimeoutError:
            _log.warning("Kafka did not answer while the monitor stopped", route=route.name)
    if monitor.failure is not None:
        raise monitor.failure
    _log.info("monitor stopped", route=route.name, worker=worker)


async def _started(app: ChunkApp, route: Route, worker: str) -> None:
    await app.start()
    _log.info("monitor started", route=route.name, worker=worker)


@contextmanager
def _running(services: Sequence[Service], monitor: Monitor, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    stop = threading.Event()

    def guarded(service: Service) -> None:
        try:
            service(stop)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the process must not go on without the service
            loop.call_soon_threadsafe(monitor.fail, error)

    threads = [threading.Thread(target=guarded, args=(service,), name="service") for service in services]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _check_topics(settings: Settings, route: Route) -> int:
    """The number of input partitions. Raises TopicError, UnreachableError."""
    predictions, labels = route.topic("predictions"), route.topic("ground-truth")
    counts = {topic: partition_count(settings, topic) for topic in (predictions, labels)}
    if counts[predictions] != counts[labels]:
        raise TopicError(
            f"topic {predictions} has {counts[predictions]} partitions, {labels} has {counts[labels]}: "
            "the join meets by partition, so give both as many",
        )
    for single in map(route.topic, _ORDERED):
        if (found := partition_count(settings, single)) != 1:
            raise TopicError(f"topic {single} has {found} partitions: its order needs 1")
    partition_count(settings, route.topic("dead-letters"))
    return counts[labels]
