"""How soon a controller acts again that was killed with a day of evidence behind it.

python benchmarks/controller_return.py --help; with --write its table goes into benchmarks/README.md.
"""

import sys
import time
from collections.abc import Iterator
from typing import Final

import click
import numpy as np
import page
from confluent_kafka import Consumer, Producer, TopicPartition
from workbench import PARTITIONS, Process, Workbench, workbench

from stream_router.adapters.avro.evidence import encode_evidence
from stream_router.adapters.avro.records import decode_windowed_accuracy, encode_split
from stream_router.core.evidence import Count, EpochInForce, Evidence, OutcomeKey, Outcomes, Positions, RolloutStarted
from stream_router.core.policy import Policy
from stream_router.core.route import Route
from stream_router.core.routing.applied_split import AppliedSplit, Versions

POLICY: Final = Policy()
SPLIT: Final = AppliedSplit(
    raw=b'{"stable": 0.9, "canary": 0.1}', canary=0.1, epoch=1, rollout=1, bound=Versions("1", "2")
)
VERSIONS: Final = {"stable": "1", "canary": "2"}
RIPE_AGE: Final = 600_000
_LONGEST: Final = 1_800.0
"""Seconds after which a controller that says nothing counts as failed."""


def evidence(seconds: int, rate: int, entities: int, seed: int = 1) -> Iterator[bytes]:
    """What the owners of 8 partitions write of so many joined requests a second, a record a second each, until now.

    Labels come 10 minutes after their requests on average; of `entities` keys each has its requests at random.
    """
    rng, begun = np.random.default_rng(seed), int(time.time() - seconds) // 60 * 60_000
    start = RolloutStarted(rollout=1, versions=SPLIT.bound, ripe_age=RIPE_AGE, first_offset=0, policy=POLICY)
    weights = {"stable": 0.9, "canary": 0.1}
    in_force = EpochInForce(epoch=1, digest=SPLIT.digest, rollout=1, weights=weights)
    yield encode_evidence(Evidence(by="bench", written_at=0, rollout_started=start))
    yield encode_evidence(Evidence(by="bench", written_at=0, epoch_in_force=in_force))
    for second in range(seconds):
        now = begun + second * 1_000
        for partition in range(PARTITIONS):
            yield encode_evidence(_flush(rng, partition, rate // PARTITIONS, entities, begun, now))


def _flush(rng: np.random.Generator, partition: int, joined: int, entities: int, begun: int, now: int) -> Evidence:
    delay = rng.exponential(RIPE_AGE, joined).astype(np.int64)
    window = np.maximum(begun, (now - delay) // POLICY.window * POLICY.window)
    is_canary = rng.random(joined) < SPLIT.canary
    outcomes, counts = [], []
    for start in np.unique(window).tolist():
        for lane, of_lane in (("stable", ~is_canary), ("canary", is_canary)):
            here = np.flatnonzero((window == start) & of_lane)
            if not len(here):
                continue
            bad = rng.random(len(here)) < 0.1
            of = {"rollout": 1, "lane": lane, "model_version": VERSIONS[lane]}
            outcomes.append(
                Outcomes(
                    key=OutcomeKey(window=start, epoch=1, digest=SPLIT.digest, metric="accuracy", **of),
                    entity=rng.integers(entities, size=len(here)),
                    order=rng.integers(-(2**63), 2**63 - 1, len(here)),
                    delay=delay[here],
                    time=np.full(len(here), now),
                    bad=bad,
                )
            )
            labelled = {"predicted": len(here), "labelled": len(here), "correct": int(np.count_nonzero(~bad))}
            counts.append(Count(window=start, delays={100: len(here)}, latencies={20: len(here)}, **of, **labelled))
    return Evidence(
        by="bench",
        written_at=now,
        partition=partition,
        positions=Positions(0, 0),  # else each owner looks for its positions in all of R.evidence
        watermark=now,
        outcomes=tuple(outcomes),
        counts=tuple(counts),
    )


class Bench:
    """One route with its evidence."""

    def __init__(self, bench: Workbench, route: Route) -> None:
        self._bench, self._route = bench, route
        self._producer = Producer({"bootstrap.servers": bench.brokers, "linger.ms": 20, "compression.type": "lz4"})
        self._probes = 0

    def write(self, topic: str, value: bytes) -> None:
        while True:
            try:
                return self._producer.produce(topic, value, partition=0)
            except BufferError:
                self._producer.poll(0.1)

    def flush(self) -> None:
        self._producer.flush()

    def acts(self) -> float:
        """Seconds until what is written now has been read by a controller that acts on it."""
        self._probes += 1
        version, began = f"probe-{self._probes}", time.monotonic()
        windowed = self._route.topic("windowed-accuracy")
        count = Count(
            window=int(time.time()) // 60 * 60_000, rollout=0, lane="stable", model_version=version, predicted=1
        )
        probe = Evidence(by="bench", written_at=0, partition=0, counts=(count,))
        contract = {"group.id": "bench", "isolation.level": "read_committed", "enable.auto.commit": False}
        reader = Consumer(contract | {"bootstrap.servers": self._bench.brokers, "fetch.wait.max.ms": 100})
        _, end = reader.get_watermark_offsets(TopicPartition(windowed, 0), 10)
        reader.assign([TopicPartition(windowed, 0, end)])
        self.write(self._route.topic("evidence"), encode_evidence(probe))
        self.flush()
        try:
            while time.monotonic() - began < _LONGEST:
                record = reader.poll(0.1)
                if record is None or record.error():
                    continue
                if decode_windowed_accuracy(record.value()).model_version == version:
                    return time.monotonic() - began
        finally:
            reader.close()
        raise click.ClickException("no controller acts")


def monitor_command(route: Route) -> list[str]:
    return [sys.executable, "-m", "stream_router", "monitor", "--route", route.name]


def returns(bench: Workbench, of_route: Bench, route: Route) -> tuple[float, float]:
    """Seconds from the start of a monitor until it acts: of one that has no snapshot, and of one after a SIGKILL."""
    command = monitor_command(route)
    with bench.running(command) as [first]:
        replayed = of_route.acts()
        _kill(first)
    with bench.running(command):
        return replayed, of_route.acts()


def _kill(process: Process) -> None:
    process.kill()
    process.wait()


@click.command(epilog="Example: python benchmarks/controller_return.py --hours 1")
@click.option("--hours", default=24.0, show_default=True, help="Of evidence.")
@click.option("--rate", default=160, show_default=True, help="Joined requests a second.")
@click.option("--entities", default=1_000_000, show_default=True, help="Keys of the requests.")
@click.option("--write", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(hours: float, rate: int, entities: int, *, write: bool) -> None:
    """Evidence of a running rollout on a local stack; a monitor reads all of it, is killed, and another one begins."""
    with workbench() as bench, bench.route() as route:
        of_route, records = Bench(bench, route), 0
        of_route.write(route.topic("splits"), encode_split(SPLIT))
        for value in evidence(int(hours * 3_600), rate, entities):
            of_route.write(route.topic("evidence"), value)
            records += 1
        of_route.flush()
        click.echo(f"{records:,} records of evidence", err=True)
        replayed, returned = returns(bench, of_route, route)
    row = [f"{hours:g}", f"{records:,}", f"{returned:.1f} s", f"{replayed:.1f} s"]
    lines = page.table(["hours of evidence", "records", "after SIGKILL until it acts", "without a snapshot"], [row])
    click.echo(lines)
    if write:
        page.write("bench-controller", lines)


if __name__ == "__main__":
    main()
