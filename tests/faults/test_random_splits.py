"""Four routers, and a split that several people change all the time: every request is where its split says."""

import json
import random
import threading

import pytest
from redis import Redis
from support.lanes import routing_of
from support.processes import Processes
from support.waiting import wait_until

pytestmark = [pytest.mark.stack, pytest.mark.long]

ROUTERS, WRITERS, SPLITS = 4, 4, 1_000
EVERY = 0.1
"""Seconds between two splits of one writer: the routers look every 0.2 s or are told, and must see many of them."""


@pytest.mark.parametrize("partitions", [8])
def test_under_a_thousand_random_splits_each_request_is_in_the_lane_that_its_split_gives_it(
    stack, stack_processes: Processes, route, feeder, lanes
):
    routers = [
        stack_processes.start("route", "--route", route.name, "--instance", f"router-{number}")
        for number in range(ROUTERS)
    ]
    wait_until(lambda: all("partitions assigned" in router.stderr for router in routers), 60, "all routers to route")
    with feeder.steadily(2_000):
        writers = [threading.Thread(target=write, args=(stack.redis_url, route, seed)) for seed in range(WRITERS)]
        for writer in writers:
            writer.start()
        meanwhile = stack_processes.run("audit", "--route", route.name, "--since", "0", "--output", "json")
        for writer in writers:
            writer.join()
    assert meanwhile.wait() == 0, meanwhile.stdout + meanwhile.stderr
    wait_until(lambda: lanes.count() == feeder.sent, 60, "all requests to be routed")
    audit = stack_processes.run("audit", "--route", route.name, "--since", "0", "--output", "json")
    assert audit.wait() == 0, audit.stdout + audit.stderr
    report = json.loads(audit.stdout)
    assert (report["clean"], report["routed"], report["waiting"]) == (True, feeder.sent, 0)
    epochs = {routing_of(record).epoch for records in lanes.routed().values() for record in records}
    assert len(epochs) > 50, "too few of the splits came into force for this to say anything"
    assert all(router.terminate() == 0 for router in routers)


def write(redis_url, route, seed):
    """A share of the splits, each by a plain SET on a connection of its own."""
    chance, pause = random.Random(seed), threading.Event()
    with Redis.from_url(redis_url) as client:
        for _ in range(SPLITS // WRITERS):
            canary = chance.choice([0.0, 1.0, round(chance.random(), 6), chance.random() / 100 + 1e-6])
            client.set(route.key("split"), json.dumps({"stable": 1 - canary, "canary": canary}))
            pause.wait(EVERY)
