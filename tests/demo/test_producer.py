"""The replay: what is sent, and in which order."""

import itertools

import pytest

from stream_router.core.route import Route
from stream_router.demo.flights import load_flights, requests_of
from stream_router.demo.producer import Event, FlightProducer, events
from stream_router.errors import UnreachableError
from stream_router.settings import Settings


def test_events_are_in_order_of_time():
    flights = load_flights([4])
    minutes = [event.minute for event in events(flights)]
    assert minutes == sorted(minutes)


def test_each_flight_departs_once_and_lands_once_if_it_does():
    flights = load_flights([4])
    sent = list(events(flights))
    assert [event.content for event in sent if event.kind == "request"] == requests_of(flights)
    landed = flights[flights["lands"].notna()]
    labels = {event.content["request_id"]: event.content["value"] for event in sent if event.kind == "label"}
    assert labels == dict(zip(landed["request_id"], landed["late"], strict=True))
    assert len(sent) == len(flights) + len(landed)


def test_the_first_request_does_not_wait_for_the_last_record():
    (first,) = itertools.islice(events(load_flights([4])), 1)
    assert (first.minute, first.kind) == (0, "request")


def test_what_is_not_delivered_at_the_end_is_an_error():
    producer = FlightProducer(Settings(bootstrap_servers="127.0.0.1:1"), Route("flights"))
    producer.send(Event(0, "label", {"request_id": "r", "value": True}))
    with pytest.raises(UnreachableError, match="1 records are not acknowledged"):
        producer.close(patience=0.1)
