"""The demo's models: one is good, the other looks like it and is not."""

import pytest

from stream_router.adapters.model import load_model
from stream_router.demo.flights import REPLAYED, load_flights, requests_of
from stream_router.demo.models import BAD, GOOD, FlightModel, coefficients, load, train
from stream_router.errors import ModelError


@pytest.fixture(scope="module")
def later():
    flights = load_flights(REPLAYED)
    return flights[flights["lands"].notna()]


@pytest.mark.parametrize(("version", "accuracy"), [(GOOD, 0.899), (BAD, 0.760)])
def test_accuracy_on_later_months(later, version, accuracy):
    outputs = load(version)(requests_of(later))
    assert (later["late"] == outputs).mean() == pytest.approx(accuracy, abs=0.005)


@pytest.mark.parametrize("version", [GOOD, BAD])
def test_a_batch_is_answered_as_row_by_row(later, version):
    model, rows = load(version), requests_of(later.sample(500, random_state=0))
    assert model(rows) == [output for row in rows for output in model([row])]


def test_an_empty_batch_has_no_outputs():
    assert load(GOOD)([]) == []


def test_training_again_gives_the_same_model():
    first, second = FlightModel(train(), 1.0), FlightModel(train(), 1.0)
    assert first.digest == second.digest


def test_the_two_versions_have_digests_of_their_own():
    assert load(GOOD).digest == load_model("stream_router.demo.models:load", GOOD).digest != load(BAD).digest


def test_the_cache_gives_back_what_was_trained(tmp_path):
    trained = coefficients(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    assert coefficients(tmp_path) == trained


def test_a_broken_cache_is_replaced(tmp_path):
    trained = coefficients(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text()[:100])
    assert coefficients(tmp_path) == trained
    assert len(file.read_text()) > 100


def test_an_unknown_airport_is_no_error(later):
    row = requests_of(later.head(1))[0] | {"origin": "???", "carrier": "??"}
    assert load(GOOD)([row]) in ([True], [False])


def test_an_unknown_version_is_refused():
    with pytest.raises(ModelError, match=r"no model version 'best': it has logreg-minutes and logreg-hours"):
        load("best")
