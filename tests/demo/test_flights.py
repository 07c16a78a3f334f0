"""The flights: what the demo's requests and labels are made of."""

import pandas as pd
import pytest

from stream_router.adapters.avro.codec import Codec
from stream_router.demo.flights import REPLAYED, load_flights, requests_of
from stream_router.demo.pace import LONGEST


@pytest.fixture(scope="module")
def april() -> pd.DataFrame:
    return load_flights([4])


def test_the_period_begins_with_its_first_departure(april):
    assert april["departs"].iloc[0] == 0
    assert april["departs"].is_monotonic_increasing


def test_no_label_precedes_its_request(april):
    """Fifteen minutes in the air are less than any flight takes."""
    assert (april["lands"].dropna() - april["departs"] > 15).sum() == april["lands"].notna().sum()


def test_no_flight_takes_longer_than_longest():
    flights = load_flights(range(1, 13))
    assert (flights["lands"] - flights["departs"]).max() <= LONGEST


def test_every_departed_flight_is_a_request_even_if_its_truth_never_comes():
    flights = load_flights(range(1, 13))
    assert len(flights) == 336_776 - 8_255
    assert flights["lands"].isna().sum() == 1_175


def test_arrivals_agree_with_the_delays_that_the_data_has(april):
    """Departure and arrival on one clock: the delay grew in the air by as much as the flight exceeded its schedule."""
    raw = april[april["dest"].isin(["ATL", "BOS", "MIA", "CLT"]) & april["lands"].notna()]
    arrival = (raw["scheduled_departure"] + raw["departure_delay"] + raw["lands"] - raw["departs"]) % 1440
    delay = (arrival - raw["scheduled_arrival"] + 360) % 1440 - 360
    assert ((delay > 15) == raw["late"]).mean() > 0.999


def test_request_ids_are_unique():
    assert load_flights(REPLAYED)["request_id"].is_unique


def test_requests_survive_their_schema(april):
    codec = Codec.of("flight_request")
    requests = requests_of(april.head(1000))
    assert [codec.decode(codec.encode(request)) for request in requests] == requests
