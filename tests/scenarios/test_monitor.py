"""The monitor on a real broker: exact whatever is killed."""

import threading

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import Servers
from support.processes import Processes

from stream_router.core.route import Route
from stream_router.processes.monitor import run_monitor
from stream_router.settings import Settings

pytestmark = pytest.mark.stack


def test_too_many_dead_letters_end_the_process(
    stack: Servers, route: Route, stack_processes: Processes, partitions: int
) -> None:
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
    for number in range(100):
        producer.produce(route.topic("predictions"), b"nonsense", partition=number % partitions)
    assert producer.flush(10) == 0
    stopped = stack_processes.run("monitor", "--route", route.name, STREAM_ROUTER_DEAD_LETTERS__CONSECUTIVE="50")
    assert stopped.process.returncode == 1
    assert "51 dead letters in a row, more than 50" in stopped.stderr


def test_a_service_that_fails_ends_the_process_with_its_error(settings: Settings, route: Route) -> None:
    served = threading.Event()

    def patient(ending: threading.Event) -> None:
        ending.wait()
        served.set()

    def failing(_ending: threading.Event) -> None:
        raise LookupError("a fault in the service")

    with pytest.raises(LookupError, match="a fault in the service"):
        run_monitor(settings, route, worker="A", services=[patient, failing], stop=lambda: False)
    assert served.is_set()


def test_unequal_partition_counts_are_refused(route_name: str, stack_processes: Processes, stack: Servers) -> None:
    route = Route(route_name)
    counts = {"predictions": 4, "ground-truth": 3, "evidence": 1, "dead-letters": 1}
    topics = [NewTopic(f"{route.name}.{name}", count, 1) for name, count in counts.items()]
    client = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    for future in client.create_topics(topics).values():
        future.result()
    refused = stack_processes.run("monitor", "--route", route.name)
    assert refused.process.returncode == 1
    assert "has 4 partitions" in refused.stderr
    assert "has 3" in refused.stderr


def test_a_missing_topic_is_refused(route_name: str, stack_processes: Processes) -> None:
    refused = stack_processes.run("monitor", "--route", route_name)
    assert refused.process.returncode == 1
    assert f"{route_name}.predictions does not exist" in refused.stderr
