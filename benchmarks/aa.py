"""The same model in both lanes, on the real stack: how often is it rolled back, or held?

python benchmarks/aa.py --help; `make bench-aa` writes its table into benchmarks/README.md.
"""

import heapq
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import click
import page
from aa_model import truth
from confluent_kafka import Producer
from load import beside
from redis import Redis
from rich.progress import Progress
from workbench import Workbench, monitor_command, router_command, workbench

from stream_router.adapters.avro.labels import encode_label
from stream_router.adapters.redis.store import RedisSplitStore
from stream_router.core.lane import CANARY, STABLE, Lane
from stream_router.core.rollout.status import RolloutStatus
from stream_router.core.route import Route

ROUTE: Final = {
    "STREAM_ROUTER_ROUTE__WINDOW": "2",
    "STREAM_ROUTER_ROUTE__LABEL_HORIZON": "8",
    "STREAM_ROUTER_ROUTE__PREDICTION_DEADLINE": "4",
}
KEYS: Final = 30_000
DELAY: Final = 1.0
"""Seconds from a request to its label on average; exponential, 6 at most."""

UNTIL_JUDGED: Final = 13.0
"""Seconds after which the last window's labels have all been bet on."""

_ALLOWED: Final = 60.0
_POLL: Final = 0.1


def traffic(brokers: str, requests: str, labels: str, rate: int) -> None:
    """Keyed requests at this rate, each with its label some time later, until killed."""
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 5, "partitioner": "murmur2_random"})
    began, sent, waiting = time.monotonic(), 0, list[tuple[float, str, str]]()
    while True:
        now = time.monotonic()
        due = int((now - began) * rate)
        for number in range(sent, due):
            key, request_id = f"key-{random.randrange(KEYS)}", f"{random.getrandbits(64):016x}-{number}"
            producer.produce(requests, json.dumps({"request_id": request_id}), key)
            heapq.heappush(waiting, (now + min(6.0, random.expovariate(1 / DELAY)), request_id, key))
        sent = due
        while waiting and waiting[0][0] <= now:
            _, request_id, key = heapq.heappop(waiting)
            producer.produce(labels, encode_label(request_id, value=truth(request_id, key)), request_id)
        producer.poll(0)
        time.sleep(0.005)


def scorer(route: Route, lane: Lane, version: str) -> list[str]:
    given = {"route": route.name, "lane": lane, "model": "aa_model:load", "model-version": version}
    options = [part for name, value in given.items() for part in (f"--{name}", value)]
    return [sys.executable, "-m", "stream_router", "score", *options]


@dataclass
class Tally:
    """Of the rollouts with one share: which metrics rolled back and which held, and canary's labels bet on."""

    rolled_back: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    labels: list[int] = field(default_factory=list)


class Rollouts:
    """One after another on one route; its router, stable job and monitor stay."""

    def __init__(self, bench: Workbench, route: Route, redis: Redis) -> None:
        self._bench, self._route, self._redis = bench, route, redis
        self._store = RedisSplitStore(route, bench.settings)
        self._versions = (f"canary-{number}" for number in count(1))

    def run(self, share: float, seconds: float, tally: Tally) -> None:
        """One, for so many seconds with a share, and until all of its labels have been bet on."""
        version = next(self._versions)
        self._redis.hset(self._route.key("models"), "canary", version)
        before = self._status().rollout
        with self._bench.running(scorer(self._route, CANARY, version)):
            time.sleep(2)
            self._set(share)
            self._until(lambda status: status.rollout > before, "the rollout is not there")
            ends = time.monotonic() + seconds
            while time.monotonic() < ends and self._status().phase != "RolledBack":
                time.sleep(_POLL)
            if self._status().phase != "RolledBack":
                self._set(0.0)
                time.sleep(UNTIL_JUDGED)
        self._note(self._status(), tally)
        if self._status().phase == "RolledBack":
            self._redis.set(self._route.key("release"), self._status().rollout)
            self._set(0.0)

    def _note(self, status: RolloutStatus, tally: Tally) -> None:
        trial = status.trial
        tally.labels.append(trial.canary_labels if trial else 0)
        if status.phase == "RolledBack":
            tally.rolled_back[trial.metric if trial else "unknown"] += 1
        for metric in status.metrics:
            if metric.verdict == "unhealthy" and metric.role == "signal":
                tally.held[metric.name] += 1

    def _set(self, canary: float) -> None:
        self._redis.set(self._route.key("split"), json.dumps({"stable": 1 - canary, "canary": canary}))

    def _status(self) -> RolloutStatus:
        status = self._store.status()
        if status is None:
            raise click.ClickException("the controller shows nothing")
        return status

    def _until(self, is_it: Callable[[RolloutStatus], bool], otherwise: str) -> None:
        deadline = time.monotonic() + _ALLOWED
        while not is_it(self._status()):
            if time.monotonic() > deadline:
                raise click.ClickException(f"{otherwise} after {_ALLOWED:g} s: {self._status()}")
            time.sleep(_POLL)


def run(bench: Workbench, shares: list[float], rollouts: int, seconds: float, rate: int) -> dict[float, Tally]:
    """By share."""
    found = {share: Tally() for share in shares}
    with bench.route() as route, bench.redis() as redis, Progress() as progress:
        redis.set(route.key("split"), json.dumps({"stable": 1.0, "canary": 0.0}))
        redis.hset(route.key("models"), "stable", "stable-1")
        topics = route.topic("requests"), route.topic("ground-truth")
        with (
            bench.running(router_command(route), scorer(route, STABLE, "stable-1")),
            bench.running(monitor_command(route), **ROUTE),
            beside(traffic, bench.brokers, *topics, rate),
        ):
            time.sleep(20)
            one_after_another = Rollouts(bench, route, redis)
            task = progress.add_task("rollouts", total=rollouts * len(shares))
            for _ in range(rollouts):
                for share in shares:
                    one_after_another.run(share, seconds, found[share])
                    progress.advance(task)
    return found


def told(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {times}" for name, times in counted.most_common()) or "none"


@click.command(epilog="Example: python benchmarks/aa.py --rollouts 3")
@click.option("--rollouts", default=20, show_default=True, help="With each share.")
@click.option("--seconds", default=20.0, show_default=True, help="For which canary has its share.")
@click.option("--rate", default=800, show_default=True, help="Requests a second.")
@click.option("--write", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(rollouts: int, seconds: float, rate: int, *, write: bool) -> None:
    """Rollouts of a canary that is stable's own model; prints what was rolled back and held."""
    with workbench() as bench:
        found = run(bench, [0.05, 0.1], rollouts, seconds, rate)
    lines = page.table(
        ["share", "rollouts", "canary labels, median", "rolled back by", "held by"],
        [
            [
                f"{share:.0%}",
                str(len(tally.labels)),
                f"{statistics.median(tally.labels):,.0f}",
                told(tally.rolled_back),
                told(tally.held),
            ]
            for share, tally in found.items()
        ],
    )
    click.echo(lines)
    if write:
        page.write("bench-aa", lines)


if __name__ == "__main__":
    main()
