"""The controller acts while evidence keeps coming."""

import threading

import pytest
from confluent_kafka import Producer
from support.kafka import kafka_records
from support.waiting import wait_until

from stream_router.adapters.avro.evidence import encode_evidence
from stream_router.core.evidence import Count, Evidence
from stream_router.processes.controller import control

pytestmark = pytest.mark.stack


def windows_of(route, stack):
    return kafka_records(stack.bootstrap_servers, route.topic("windowed-accuracy"))


def test_windows_are_published_though_evidence_never_stops(stack, settings, route):
    stop = threading.Event()

    def write():
        producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "linger.ms": 0})
        while not stop.wait(0.002):
            count = Count(window=0, rollout=0, lane="stable", model_version="v1", predicted=1)
            producer.produce(
                route.topic("evidence"),
                encode_evidence(Evidence(by="test", written_at=0, partition=0, counts=(count,))),
                partition=0,
            )
            producer.poll(0)
        producer.flush(10)

    threads = [
        threading.Thread(target=write),
        threading.Thread(target=control, args=(settings, route, "test", stop)),
    ]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: windows_of(route, stack), 30, "a window")
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def test_an_unreadable_record_is_one_dead_letter_whoever_is_the_controller(stack, settings, route):
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
    producer.produce(route.topic("evidence"), b"not evidence", partition=0)
    assert producer.flush(10) == 0

    def dead_letters():
        return kafka_records(stack.bootstrap_servers, route.topic("dead-letters"))

    def serve(until, what):
        stop = threading.Event()
        thread = threading.Thread(target=control, args=(settings, route, "test", stop))
        thread.start()
        try:
            wait_until(until, 60, what)
        finally:
            stop.set()
            thread.join(30)

    serve(dead_letters, "the dead letter")
    count = Count(window=0, rollout=0, lane="stable", model_version="v1", predicted=1)
    after = Evidence(by="test", written_at=0, partition=0, counts=(count,))
    producer.produce(route.topic("evidence"), encode_evidence(after), partition=0)
    assert producer.flush(10) == 0
    serve(lambda: windows_of(route, stack), "the next controller to go on behind it")
    assert [letter.value for letter in dead_letters()] == [b"not evidence"]
