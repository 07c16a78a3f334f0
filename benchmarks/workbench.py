"""What the benchmarks share that run processes on a local stack: routes, the processes, and samples of their work."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Final

import click
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from measuring import Sample, cpu_seconds, with_children
from redis import Redis

from stream_router.adapters.kafka import topics
from stream_router.core.lane import LANES
from stream_router.core.route import Route
from stream_router.local.stack import Stack, local_stack
from stream_router.settings import load_settings

HERE: Final = Path(__file__).parent
PARTITIONS: Final = 8
Process = subprocess.Popen[bytes]

_ALLOWED: Final = 60.0
"""Seconds without a record after which a run counts as failed."""

_EVERY: Final = 0.05
"""Seconds between samples."""


class Workbench:
    """A local stack; `folder` is for whatever else a benchmark writes."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack, self.brokers, self.folder = stack, stack.bootstrap_servers, folder
        self.broker_pid = stack.kafka_pid
        self._redis_url = stack.redis_url
        self.settings = load_settings(
            flags={"bootstrap_servers": stack.bootstrap_servers, "redis_url": stack.redis_url}
        )
        self._environment = os.environ | {
            "STREAM_ROUTER_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
            "STREAM_ROUTER_REDIS_URL": stack.redis_url,
            "STREAM_ROUTER_LOG_LEVEL": "error",
            "PYTHONPATH": str(HERE),
        }
        self._numbers = count()
        self.admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
        self._reader = Consumer(
            {"bootstrap.servers": stack.bootstrap_servers, "group.id": "bench", "isolation.level": "read_committed"}
        )

    @contextmanager
    def route(self, partitions: int = PARTITIONS) -> Iterator[Route]:
        """A route with its topics and 10 % canary, for as long as the block runs."""
        route = Route(f"bench-{next(self._numbers)}")
        topics.apply(self.settings, route, partitions)
        with self.redis() as redis:
            redis.set(route.key("split"), '{"stable": 0.9, "canary": 0.1}')
        yield route
        names = [topic for topic in self.admin.list_topics(timeout=10).topics if topic.startswith(f"{route.name}.")]
        for deleted in self.admin.delete_topics(names).values():
            deleted.result()

    def close(self) -> None:
        """Before its servers end."""
        self._reader.close()
        del self.admin

    def redis(self) -> Redis:
        return Redis.from_url(self._redis_url)

    @contextmanager
    def running(
        self, *commands: Sequence[str], stderr: int | None = None, **environment: str
    ) -> Iterator[list[Process]]:
        """These, ended by SIGTERM; `stderr` as Popen's, `environment` in place of what is set for all."""
        with ExitStack() as ends:
            processes = []
            for command in commands:
                process = subprocess.Popen(
                    command, env=self._environment | environment, stdout=subprocess.DEVNULL, stderr=stderr
                )
                ends.callback(_end, process)
                processes.append(process)
            yield processes

    def committed(self, names: Sequence[str], partitions: int = PARTITIONS) -> int:
        """Records that a reader of committed records has before it in these topics."""
        return sum(self.end(name, partition) for name in names for partition in range(partitions))

    def end(self, name: str, partition: int) -> int:
        """Behind the last record that a reader of committed records has before it."""
        return self._reader.get_watermark_offsets(TopicPartition(name, partition), 10)[1]

    def samples(
        self, processes: Sequence[Process], names: Sequence[str], records: int, partitions: int = PARTITIONS
    ) -> Iterator[Sample]:
        """Until so many are written. Raises ClickException where a process ends, or nothing comes for a minute."""
        return self.watched(processes, lambda: self.committed(names, partitions), records)

    def watched(
        self, processes: Sequence[Process], seen_now: Callable[[], int], records: int, allowed: float = _ALLOWED
    ) -> Iterator[Sample]:
        """As `samples`, with another way to see how many are done; nothing may come for so many seconds."""
        seen, since = 0, time.monotonic()
        while seen < records:
            before, seen = seen, seen_now()
            now = time.monotonic()
            since = since if seen == before else now
            if now - since > allowed:
                raise click.ClickException(f"{processes[0].args!r} stands still at {seen} of {records} records")
            for process in processes:
                if process.poll() is not None:
                    raise click.ClickException(f"{process.args!r} ended with {process.returncode} at {seen} records")
            everyone = [pid for process in processes for pid in with_children(process.pid)]
            yield Sample(now, seen, sum(map(cpu_seconds, everyone)))
            time.sleep(_EVERY)


@contextmanager
def workbench() -> Iterator[Workbench]:
    """On a stack of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, local_stack(Path(folder) / "stack") as stack:
        bench = Workbench(stack, Path(folder))
        try:
            yield bench
        finally:
            bench.close()


def lanes_of(route: Route) -> list[str]:
    """Their topics."""
    return [route.lane_topic(lane) for lane in LANES]


def committed_reader(brokers: str, names: Sequence[str]) -> Consumer:
    """Of all partitions from their beginnings, soon after each commit."""
    contract = {"group.id": "bench", "isolation.level": "read_committed", "enable.auto.commit": False}
    consumer = Consumer(
        contract | {"bootstrap.servers": brokers, "fetch.wait.max.ms": 100, "fetch.queue.backoff.ms": 10}
    )
    consumer.assign([TopicPartition(name, number, 0) for name in names for number in range(PARTITIONS)])
    return consumer


def router_command(route: Route, *options: str) -> list[str]:
    return [sys.executable, "-m", "stream_router", "route", "--route", route.name, *options]


def monitor_command(route: Route, *options: str) -> list[str]:
    return [sys.executable, "-m", "stream_router", "monitor", "--route", route.name, *options]


def _end(process: Process) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
