"""A broker that is restarted or frozen twice under load: all go on by themselves, each request is predicted once."""

import signal
from collections import Counter

import pytest
from redis import Redis
from support.health import is_ready
from support.lanes import Lanes
from support.own_stack import OwnStack, own_stack
from support.processes import Processes
from support.waiting import wait_until
from support.whole_loop import Loop

from stream_router.adapters.avro.records import decode_prediction
from stream_router.adapters.kafka import topics
from stream_router.core.route import Route
from stream_router.settings import load_settings

pytestmark = [pytest.mark.stack, pytest.mark.long]

BACK = 15
"""Seconds within which all work on after the broker answers again."""


FROZEN = 14
"""Seconds: longer than any session of a member and than transaction.timeout.ms."""


def none_is_ready(processes: Processes) -> None:
    wait_until(lambda: not any(is_ready(command) for command in processes.started), 30, "none to be ready")


def killed(stack: OwnStack, processes: Processes) -> None:
    stack.end_broker(signal.SIGKILL)
    none_is_ready(processes)
    stack.start_broker()


def terminated(stack: OwnStack, processes: Processes) -> None:
    stack.end_broker(signal.SIGTERM)
    none_is_ready(processes)
    stack.start_broker()


def frozen(stack: OwnStack, _processes: Processes) -> None:
    stack.freeze_broker(FROZEN)


@pytest.mark.parametrize("fault", [killed, terminated, frozen], ids=lambda fault: fault.__name__)
def test_all_go_on_after_the_broker_came_back_and_each_request_is_predicted_once(tmp_path, fault):
    with own_stack(tmp_path / "stack") as stack, Redis.from_url(stack.redis_url) as redis:
        route = Route("restarts")
        flags = {"bootstrap_servers": stack.bootstrap_servers, "redis_url": stack.redis_url}
        topics.apply(load_settings(flags=flags), route, 4)
        processes = Processes(tmp_path, stack.environment | {"STREAM_ROUTER_METRICS_PORT": "0"})
        loop, lanes = Loop(stack, route, processes, redis), Lanes(stack.bootstrap_servers, route)
        try:
            loop.start("0.9", "0.9")
            loop.set_split(0.3)
            with loop.traffic(500):
                wait_for_progress(lanes, loop, 60)
                for _ in range(2):
                    fault(stack, processes)
                    wait_for_progress(lanes, loop, BACK)
                    wait_until(lambda: all(is_ready(command) for command in processes.started), BACK, "all to be ready")
            wait_until(lambda: len(lanes.read("predictions")) >= loop.feeder.sent, 60, "all requests to be predicted")
            codes = processes.terminate_all(5)
        finally:
            processes.end()
            lanes.close()
        assert set(codes.values()) == {0}, codes
        assert lanes.faults() == []
        predicted = Counter(decode_prediction(record.value).request_id for record in lanes.read("predictions"))
        assert predicted == Counter(f"r{request}" for request in range(loop.feeder.sent))


def wait_for_progress(lanes: Lanes, loop: Loop, seconds: float) -> None:
    """Until router, both scoring jobs and monitor have done something since this was called."""
    before = done = done_so_far(lanes, loop)

    def all_have_done_something() -> bool:
        nonlocal done
        done = done_so_far(lanes, loop)
        return all(done[who] > before[who] for who in done)

    try:
        wait_until(all_have_done_something, seconds, "all to work on")
    except AssertionError as error:
        raise AssertionError(f"{error}: {before} and then {done}") from None


def done_so_far(lanes: Lanes, loop: Loop) -> dict[str, int]:
    lane = Counter(decode_prediction(record.value).lane for record in lanes.read("predictions"))
    counts = [count for _, evidence in loop.evidence() for count in evidence.counts]
    joined = sum(count.predicted + count.labelled for count in counts)  # late ones, too: of them there are no outcomes
    return {"routed": lanes.count(), "stable": lane["stable"], "canary": lane["canary"], "joined": joined}
