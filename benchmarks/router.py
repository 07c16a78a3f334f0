"""The router beside a bare consume-produce loop and Kafka Streams, in interleaved rounds on a local stack of its own.

python benchmarks/router.py --help; `make bench-router` writes its table into benchmarks/README.md.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import click
import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from kafka_streams import KafkaStreams, why_not
from redis import Redis

from stream_router.adapters.kafka import topics
from stream_router.core.lane import LANES
from stream_router.core.route import Route
from stream_router.local.stack import Stack, local_stack
from stream_router.settings import load_settings

HERE = Path(__file__).parent
PARTITIONS = 8
INTERVAL = 0.2
VALUE = 200
FIRST, LAST = 0.2, 0.95
"""Of the records: what lies between is measured, start and end are not."""

BEGIN, END = "<!-- bench-router -->", "<!-- /bench-router -->"
HERTZ = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sample:
    """Seconds, records that a reader of committed records has before it, CPU seconds of the process."""

    at: float
    records: int
    cpu: float


@dataclass(frozen=True)
class Result:
    """Records a second, and CPU microseconds a record."""

    rate: float
    cpu: float


@dataclass(frozen=True)
class Variant:
    """`lanes`: how many of a route's lanes it writes; `command` is given the brokers and the route."""

    lanes: int
    command: Callable[[str, Route], list[str]]


def bare(_brokers: str, route: Route) -> list[str]:
    script, topics_of_it = HERE / "bare_loop.py", (route.topic("requests"), route.lane_topic("stable"))
    return [sys.executable, str(script), *topics_of_it, str(INTERVAL)]


def router(_brokers: str, route: Route) -> list[str]:
    return [sys.executable, "-m", "stream_router", "route", "--route", route.name, "--interval", str(INTERVAL)]


def variants(folder: Path) -> dict[str, Variant]:
    """Those that can run here; says which cannot."""
    found = {"bare loop": Variant(1, bare), "router": Variant(2, router)}
    if reason := why_not():
        click.echo(f"Kafka Streams is skipped: {reason}", err=True)
        return found
    streams = KafkaStreams(folder)

    def with_threads(threads: int) -> Variant:
        return Variant(2, lambda brokers, route: streams.command(brokers, route.name, threads, round(INTERVAL * 1000)))

    return found | {
        f"Kafka Streams, {threads} thread{'s' * (threads > 1)}": with_threads(threads) for threads in (1, 2)
    }


class Bench:
    """Runs variants, each on topics of its own."""

    def __init__(self, stack: Stack, records: int) -> None:
        self.stack, self.records = stack, records
        self.settings = load_settings(
            flags={"bootstrap_servers": stack.bootstrap_servers, "redis_url": stack.redis_url}
        )
        self.environment = os.environ | {
            "STREAM_ROUTER_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
            "STREAM_ROUTER_REDIS_URL": stack.redis_url,
            "STREAM_ROUTER_LOG_LEVEL": "error",
        }
        self._numbers = count()
        self._admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
        self._reader = Consumer(
            {"bootstrap.servers": stack.bootstrap_servers, "group.id": "bench", "isolation.level": "read_committed"}
        )

    def run(self, variant: Variant) -> Result:
        with self._route() as route:
            self._fill(route)
            targets = [route.lane_topic(lane) for lane in LANES[: variant.lanes]]
            command = variant.command(self.stack.bootstrap_servers, route)
            process = subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL)
            try:
                samples = list(self._samples(process, targets))
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)
        return measured(samples, self.records)

    @contextmanager
    def _route(self) -> Iterator[Route]:
        route = Route(f"bench-{next(self._numbers)}")
        topics.apply(self.settings, route, PARTITIONS)
        with Redis.from_url(self.stack.redis_url) as redis:
            redis.set(route.key("split"), '{"stable": 0.9, "canary": 0.1}')
        yield route
        names = [topic for topic in self._admin.list_topics(timeout=10).topics if topic.startswith(f"{route.name}.")]
        for deleted in self._admin.delete_topics(names).values():
            deleted.result()

    def _fill(self, route: Route) -> None:
        producer = Producer(
            {
                "bootstrap.servers": self.stack.bootstrap_servers,
                "partitioner": "murmur2_random",
                "linger.ms": 50,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 2_000_000,
            }
        )
        topic, value = route.topic("requests"), os.urandom(VALUE // 2) + b"x" * (VALUE // 2)
        for number in range(self.records):
            producer.produce(topic, value, b"user-%d" % (number % 50_000))
            if number % 1_000 == 0:
                producer.poll(0)
        producer.flush()

    def _samples(self, process: subprocess.Popen[bytes], targets: list[str]) -> Iterator[Sample]:
        partitions = [TopicPartition(topic, partition) for topic in targets for partition in range(PARTITIONS)]
        deadline, records = time.monotonic() + 60, 0
        while records < self.records:
            if process.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException(f"{process.args} ended early, or took too long")
            records = sum(self._reader.get_watermark_offsets(at, 10)[1] for at in partitions)
            yield Sample(time.monotonic(), records, cpu_seconds(process.pid))
            time.sleep(0.05)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / HERTZ


def measured(samples: list[Sample], records: int) -> Result:
    seen = [sample.records for sample in samples]
    at, cpu = (
        np.interp([FIRST * records, LAST * records], seen, [getattr(sample, field) for sample in samples])
        for field in ("at", "cpu")
    )
    done = (LAST - FIRST) * records
    return Result(done / (at[1] - at[0]), (cpu[1] - cpu[0]) / done * 1e6)


def interval(ratios: list[float]) -> str:
    """The median, and its 95 % interval by resampling."""
    drawn = np.median(np.random.default_rng(1).choice(ratios, (10_000, len(ratios))), axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})"


def table(results: dict[str, list[Result]]) -> str:
    reference = results["bare loop"]
    lines = [
        "| variant | records/s | CPU us a record | rate against the bare loop | CPU against it |",
        "|---|---|---|---|---|",
    ]
    for name, found in results.items():
        rates = [result.rate / bare.rate for result, bare in zip(found, reference, strict=True)]
        cpus = [result.cpu / bare.cpu for result, bare in zip(found, reference, strict=True)]
        rate, cpu = (statistics.median(getattr(r, field) for r in found) for field in ("rate", "cpu"))
        lines.append(f"| {name} | {rate:,.0f} | {cpu:.2f} | {interval(rates)} | {interval(cpus)} |")
    return "\n".join(lines)


def write(lines: str) -> None:
    """Between the marks of benchmarks/README.md."""
    page = HERE / "README.md"
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{lines}\n{END}{rest.split(END)[1]}")


@click.command(epilog="Example: python benchmarks/router.py --rounds 3 --records 500000")
@click.option("--rounds", default=7, show_default=True, help="Each runs every variant once.")
@click.option("--records", default=2_000_000, show_default=True, help="Of 200 bytes, for each run.")
@click.option("--write", "writes", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(rounds: int, records: int, *, writes: bool) -> None:
    """Router, bare loop and Kafka Streams in interleaved rounds; prints medians and ratios."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, local_stack(Path(folder) / "stack") as stack:
        bench, competing = Bench(stack, records), variants(Path(folder))
        results: dict[str, list[Result]] = {name: [] for name in competing}
        for round_ in range(1, rounds + 1):
            for name in sorted(competing, reverse=bool(round_ % 2)):
                result = bench.run(competing[name])
                results[name].append(result)
                click.echo(f"{round_}/{rounds} {name}: {result.rate:,.0f} records/s, {result.cpu:.2f} us", err=True)
    click.echo(table(results))
    if writes:
        write(table(results))


if __name__ == "__main__":
    main()
