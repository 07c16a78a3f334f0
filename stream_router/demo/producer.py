"""Replays flights in accelerated time: a request when a flight departs, its label when it is at the gate."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import pandas as pd

from stream_router.adapters.avro.codec import Codec
from stream_router.adapters.avro.labels import encode_label
from stream_router.adapters.kafka.failures import explaining
from stream_router.adapters.kafka.producers import AtLeastOnceProducer
from stream_router.core.route import Route
from stream_router.demo.flights import REPLAYED, load_flights, requests_of
from stream_router.settings import Settings

_CHUNK: Final = 2_000
"""Flights made into records at once: the first must not wait for the last."""

_STEP: Final = 0.005
"""Seconds of sleep between looks at what is due."""


class Event(NamedTuple):
    """A flight departs or is at the gate, `minute` minutes after the first departure; `content` is a request or a
    label as in schemas/flight_request and schemas/ground_truth.
    """

    minute: float
    kind: Literal["request", "label"]
    content: dict[str, Any]


@dataclass
class Sent:
    requests: int = 0
    labels: int = 0


def events(flights: pd.DataFrame) -> Iterator[Event]:
    """Every departure and every arrival, in order of time, each flight's departure first."""
    times = np.concatenate([flights["departs"].to_numpy(), flights["lands"].to_numpy()])
    order = np.argsort(times, kind="stable")[: int(np.isfinite(times).sum())]  # NaN, for never, sorts last
    ids, late = flights["request_id"].tolist(), flights["late"].tolist()
    requests = _lazily(flights)
    for index in order.tolist():
        if index < len(flights):  # departures are in order of their own
            yield Event(times[index], "request", next(requests))
        else:
            flight = index - len(flights)
            yield Event(times[index], "label", {"request_id": ids[flight], "value": late[flight]})


def _lazily(flights: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for first in range(0, len(flights), _CHUNK):
        yield from requests_of(flights.iloc[first : first + _CHUNK])


class FlightProducer:
    """Writes events to the topics of a route. Raises StreamRouterError when a record could not be delivered."""

    def __init__(self, settings: Settings, route: Route) -> None:
        self._settings, self._route = settings, route
        self._producer = AtLeastOnceProducer(settings, linger=5)
        self._request = Codec.of("flight_request")
        self.sent = Sent()

    def send(self, event: Event) -> None:
        content = event.content
        if event.kind == "request":
            key, value = content["tailnum"], self._request.encode(content)
            self._producer.send(self._route.topic("requests"), value, key.encode())
            self.sent.requests += 1
        else:
            key, value = content["request_id"], encode_label(**content)
            self._producer.send(self._route.topic("ground-truth"), value, key.encode())
            self.sent.labels += 1

    def serve(self) -> None:
        """Let the client report what it delivered."""
        with self._explaining():
            self._producer.check()

    def close(self, patience: float = 10) -> None:
        """Waits at most so many seconds for what is not delivered yet."""
        with self._explaining():
            self._producer.deliver(patience)

    def _explaining(self) -> AbstractContextManager[None]:
        return explaining(self._settings, f"sending flights to route {self._route.name}")


def replay(producer: FlightProducer, flights: pd.DataFrame, pace: float, stop: Callable[[], bool]) -> None:
    """Send each event when it is due, `pace` seconds to a minute, until `stop()` or the last flight."""
    begun = time.monotonic()
    for event in events(flights):
        due = begun + event.minute * pace
        while time.monotonic() < due and not stop():
            producer.serve()
            time.sleep(_STEP)
        if stop():
            return
        producer.send(event)


def produce_flights(settings: Settings, route: Route, seconds_per_hour: float, stop: Callable[[], bool]) -> Sent:
    """Replay the later months until `stop()` or their end; returns what was delivered."""
    producer = FlightProducer(settings, route)
    replay(producer, load_flights(REPLAYED), seconds_per_hour / 60, stop)
    producer.close()
    return producer.sent
