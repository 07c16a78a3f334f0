"""How soon a rollback acts: from the label that decides to the first request routed by the rolled-back split.

python benchmarks/rollback.py --help; `make bench-rollback` writes its table into benchmarks/README.md.
"""

import json
import random
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final, cast

import click
import page
from confluent_kafka import Producer
from load import beside, feed
from redis import Redis
from rich.progress import track
from workbench import Workbench, committed_reader, lanes_of, monitor_command, router_command, workbench

from stream_router.adapters.avro.labels import encode_label
from stream_router.adapters.avro.records import encode_prediction
from stream_router.core.lane import CANARY, STABLE, Lane
from stream_router.core.route import Route
from stream_router.core.routing.header import Headers, Routing, parse_routing
from stream_router.core.scoring.prediction import Prediction

ROUTE: Final = {"STREAM_ROUTER_ROUTE__WINDOW": "1s", "STREAM_ROUTER_ROUTE__LABEL_HORIZON": "60s"}
POLICY: Final = "ripe_age: 1s"
GOALS: Final[dict[str, dict[page.Statistic, float]]] = {
    "label that decides -> first request routed by the rolled-back split": {"p50": 200, "p99": 500}
}
"""Milliseconds."""

OF_A_LANE: Final = 10
"""Outcomes: at equal shares a block closes with twice as many, and canary's alone bad decide it."""

BEFORE: Final = 20_000
"""Milliseconds by which the requests are older: their windows are ripe."""

ALLOWED: Final = 60.0
"""Seconds that anything may take before the run counts as failed."""

PAUSE: Final = 1.0, 1.5
"""Seconds from the other labels until the one that decides, drawn evenly: no timer is met in step."""


class Lanes:
    """Sees what is committed in both lanes."""

    def __init__(self, brokers: str, route: Route) -> None:
        self._consumer = committed_reader(brokers, lanes_of(route))

    def first(self, is_it: Callable[[Routing], bool]) -> Routing:
        """The first record from now on of which that holds."""
        deadline = time.monotonic() + ALLOWED
        while time.monotonic() < deadline:
            for message in self._consumer.consume(5_000, 0.02):
                if message.error() is None and is_it(routing := parse_routing(cast("Headers", message.headers()))):
                    return routing
        raise click.ClickException(f"no such record in the lanes within {ALLOWED:g} s")


class Rollbacks:
    """Of one route with a router and a monitor at work."""

    def __init__(self, bench: Workbench, route: Route, redis: Redis) -> None:
        self._route, self._redis, self._lanes = route, redis, Lanes(bench.brokers, route)
        self._producer = Producer({"bootstrap.servers": bench.brokers, "linger.ms": 0, "partitioner": "murmur2_random"})
        self._weights = (0.5 + number / 1_000_000 for number in count())

    def measure(self, rollbacks: int) -> list[float]:
        """Milliseconds each."""
        return [self._rollback(rollout) for rollout in track(range(1, rollbacks + 1), "Rolling back")]

    def _rollback(self, rollout: int) -> float:
        routing = self._begin(rollout)
        ids = {lane: [f"{rollout}-{lane}-{number}" for number in range(OF_A_LANE)] for lane in (STABLE, CANARY)}
        for lane, of_lane in ids.items():
            self._predict(of_lane, lane, routing)
        *others, last = [*ids[STABLE], *ids[CANARY]]
        self._label(others)
        time.sleep(random.uniform(*PAUSE))
        began = time.time() * 1_000
        self._label([last])
        after = self._lanes.first(lambda seen: seen.epoch > routing.epoch)
        if after.routed_at < began:
            raise click.ClickException(f"rollout {rollout} was rolled back before the label that decides")
        return after.routed_at - began

    def _begin(self, rollout: int) -> Routing:
        """A rollout after the one before was rolled back; returns how its first request was routed."""
        if rollout > 1:
            self._redis.set(self._route.key("release"), rollout - 1)
        weight = next(self._weights)
        self._redis.set(self._route.key("split"), json.dumps({"stable": 1 - weight, "canary": weight}))
        return self._lanes.first(lambda seen: seen.rollout == rollout)

    def _predict(self, ids: Sequence[str], lane: Lane, routing: Routing) -> None:
        now = int(time.time() * 1_000)
        for request_id in ids:
            made = Prediction(
                request_id=request_id,
                key=request_id.encode(),
                lane=lane,
                rollout=routing.rollout,
                epoch=routing.epoch,
                digest=routing.digest,
                routed_at=now - BEFORE,
                requested_at=now - BEFORE,
                scored_at=now - BEFORE + 50,
                model_version=lane,
                model_digest=None,
                batch_id=request_id,
                batch_index=0,
                batch_size=1,
                model_seconds=0.01,
                value=lane == STABLE,
                error=None,
            )
            self._producer.produce(self._route.topic("predictions"), encode_prediction(made), request_id)
        self._producer.flush()

    def _label(self, ids: Sequence[str]) -> None:
        """The truth is what stable says."""
        for request_id in ids:
            self._producer.produce(self._route.topic("ground-truth"), encode_label(request_id, value=True), request_id)
        self._producer.flush()


def run(bench: Workbench, rollbacks: int, rate: int) -> list[float]:
    """Milliseconds."""
    policy = bench.folder / "policy.yaml"
    policy.write_text(POLICY)
    with (
        bench.route() as route,
        bench.redis() as redis,
        bench.running(router_command(route)),
        bench.running(monitor_command(route, "--policy", str(policy)), **ROUTE),
        beside(feed, bench.brokers, route.topic("requests"), rate),
    ):
        return Rollbacks(bench, route, redis).measure(rollbacks)


@click.command(epilog="Example: python benchmarks/rollback.py --rollbacks 20")
@click.option("--rollbacks", default=200, show_default=True, help="One rollout after another.")
@click.option("--rate", default=2_000, show_default=True, help="Requests a second meanwhile.")
@click.option("--write", is_flag=True, help="Write the table into benchmarks/README.md.")
def main(rollbacks: int, rate: int, *, write: bool) -> None:
    """One router and one monitor on a local stack; prints quantiles."""
    with workbench() as bench:
        lines = page.quantiles("ms", dict.fromkeys(GOALS, run(bench, rollbacks, rate)), GOALS)
    click.echo(lines)
    if write:
        page.write("bench-rollback", lines)


if __name__ == "__main__":
    main()
