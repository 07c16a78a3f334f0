"""The monitor on a real broker: exact whatever is killed."""

import gc
import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType
from conftest import Servers
from support.health import started, wait_until_ready
from support.kafka import KafkaRecord, kafka_records
from support.owners import prediction
from support.processes import Processes
from support.raw_headers import produce_batch
from support.waiting import wait_until

from stream_router.adapters.avro.evidence import decode_evidence
from stream_router.adapters.avro.labels import encode_label
from stream_router.adapters.avro.records import decode_prediction, encode_prediction
from stream_router.adapters.rows_file import RowsFile
from stream_router.core.evidence import ACCURACY, Positions
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


def test_a_monitor_says_what_it_starts_with_and_is_ready_with_its_partitions(
    route: Route, stack_processes: Processes
) -> None:
    flags = ("--worker", "a", "--metrics-port", "0", "--log-format", "json")
    start = started(stack_processes.start("monitor", "--route", route.name, *flags))
    assert (start["event"], start["route"], start["worker"]) == ("monitor starts", route.name, "a")
    assert wait_until_ready(start["metrics"]) == {"assignment": "ready"}


def test_a_monitor_that_is_killed_leaves_no_files(route: Route, stack_processes: Processes, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monitor = stack_processes.start(
        "monitor", "--route", route.name, "--metrics-port", "0", "--log-format", "json", TMPDIR=str(temporary)
    )
    wait_until_ready(started(monitor)["metrics"])
    monitor.kill()
    assert list(temporary.iterdir()) == []


def test_a_header_name_that_is_not_utf8_stops_nothing(stack: Servers, route: Route, stack_processes: Processes) -> None:
    odd, now = {b"h\xff": b"1"}, time.time_ns() // 1_000_000
    times = {"routed_at": now, "requested_at": now, "scored_at": now}
    predictions = [encode_prediction(replace(decode_prediction(prediction(n)), **times)) for n in range(4)]
    for topic, values in (
        ("predictions", predictions),
        ("ground-truth", [encode_label(f"r{number}", True) for number in range(4)]),
    ):
        produce_batch(
            stack.bootstrap_servers,
            route.topic(topic),
            [(b"k", values[0], {}), (b"k", values[1], odd), (b"k", b"nonsense", odd), (b"k", values[2], odd)],
        )
        produce_batch(stack.bootstrap_servers, route.topic(topic), [(b"k", values[3], {})])
    monitor = stack_processes.start("monitor", "--route", route.name)

    def read(topic: str) -> list[KafkaRecord]:
        return kafka_records(stack.bootstrap_servers, route.topic(topic))

    def joined() -> int:
        evidence = (decode_evidence(record.value) for record in read("evidence"))
        return sum(len(column) for record in evidence for column in record.outcomes if column.key.metric == ACCURACY)

    wait_until(lambda: joined() == 4, 30, "all to be joined")
    letters = wait_until(lambda: read("dead-letters"), 30, "the dead letters")
    assert [letter.headers[0] for letter in letters] == [(r"h\xff", b"1")] * 2
    assert {dict(letter.headers)["__connect.errors.stage"] for letter in letters} == {b"monitor"}
    assert monitor.terminate() == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Faust, ended while it starts
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
    gc.collect()  # what it left open is told here, and not in another test


def test_unequal_partition_counts_are_refused(route_name: str, stack_processes: Processes, stack: Servers) -> None:
    route = Route(route_name)
    counts = {"predictions": 4, "ground-truth": 3, "evidence": 1, "splits": 1, "dead-letters": 1}
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


def test_a_horizon_beyond_what_a_topic_keeps_is_refused(
    stack: Servers, route: Route, stack_processes: Processes
) -> None:
    client = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    entry = ConfigEntry("retention.ms", "3600000", incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ResourceType.TOPIC, route.topic("ground-truth"), incremental_configs=[entry])
    for future in client.incremental_alter_configs([topic]).values():
        future.result()
    refused = stack_processes.run("monitor", "--route", route.name)
    assert refused.process.returncode == 2
    assert f"topic {route.topic('ground-truth')} deletes records after 3600 s (retention.ms=3600000)" in refused.stderr
    assert "route.label_horizon is 86400 s" in refused.stderr


def test_records_deleted_while_it_reads_are_said_and_it_goes_on(
    stack: Servers, route: Route, stack_processes: Processes
) -> None:
    """It is stopped while more than it has fetched is written, and part of that deleted."""
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
    topic = route.topic("ground-truth")

    def write(first: int, count: int) -> None:
        for number in range(first, first + count):
            producer.produce(topic, encode_label(f"r{number}", True), partition=0)
        assert producer.flush(10) == 0

    monitor = stack_processes.start("monitor", "--route", route.name)
    write(0, 10)

    def position() -> int:
        found = [
            decode_evidence(record.value) for record in kafka_records(stack.bootstrap_servers, route.topic("evidence"))
        ]
        return max((e.positions.ground_truth for e in found if e.partition == 0 and e.positions), default=0)

    wait_until(lambda: position() == 10, 60, "the first labels to be read")
    monitor.process.send_signal(signal.SIGSTOP)
    write(10, 5)
    time.sleep(0.5)  # the fetch that was under way is answered after 0.1 s, and no other one follows
    write(15, 85)
    client = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    for future in client.delete_records([TopicPartition(topic, 0, 80)]).values():
        future.result()
    monitor.process.send_signal(signal.SIGCONT)
    wait_until(lambda: position() == 100, 60, "the others to be read")
    assert monitor.terminate() == 0
    assert "records were deleted before they were read" in monitor.stderr
    assert "log_start=80" in monitor.stderr


QUICK_DISK = """
import sys
from stream_router.processes import rows_on_disk
rows_on_disk._CHANGES = 1
from stream_router.cli import main
sys.argv[0] = "stream-router"
main()
"""


def test_a_monitor_that_was_killed_reads_only_what_came_after_its_file(
    stack: Servers, route: Route, stack_processes: Processes, tmp_path: Path
) -> None:
    now, folder = time.time_ns() // 1_000_000, tmp_path / "state"
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})

    def write(first: int, count: int) -> None:
        for number in range(first, first + count):
            made = prediction(number, routed_at=now, requested_at=now, scored_at=now)
            producer.produce(route.topic("predictions"), made, partition=0)
            producer.produce(route.topic("ground-truth"), encode_label(f"r{number}", True), partition=0)
        assert producer.flush(10) == 0

    def outcomes() -> list[int]:
        found = [decode_evidence(r.value) for r in kafka_records(stack.bootstrap_servers, route.topic("evidence"))]
        columns = [column for evidence in found for column in evidence.outcomes if column.key.metric == ACCURACY]
        return [order for column in columns for order in column.order.tolist()]

    def on_disk() -> Positions | None:
        rows = RowsFile(folder, route.name, 0).read()
        return rows and rows.about.positions

    script = tmp_path / "monitor.py"
    script.write_text(QUICK_DISK)
    environment = stack.environment | {"STREAM_ROUTER_STATE_FOLDER": str(folder)}
    command = [sys.executable, str(script), "monitor", "--route", route.name]
    with (tmp_path / "killed.log").open("wb") as log:
        first = subprocess.Popen(command, env=environment, stderr=log, start_new_session=True)
        try:
            write(0, 100)
            wait_until(lambda: on_disk() == (100, 100), 60, "rows on disk")
        finally:
            first.kill()
            first.wait(30)
    write(100, 50)
    second = stack_processes.start(
        "monitor", "--route", route.name, "--log-format", "json", STREAM_ROUTER_STATE_FOLDER=str(folder)
    )
    wait_until(lambda: len(outcomes()) == 150, 60, "the others to be joined")
    assert second.terminate() == 0
    assert len(set(outcomes())) == len(outcomes()) == 150
    (taken,) = [
        entry
        for entry in map(json.loads, second.stderr.splitlines())
        if entry.get("partition") == 0 and entry["event"] == "partition taken"
    ]
    assert taken["predictions_from_disk"] == 100
    assert taken["reads_from"] == {"predictions": 100, "ground_truth": 100}
