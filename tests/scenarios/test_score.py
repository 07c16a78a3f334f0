"""Scoring jobs on real servers, as separate processes."""

import json

import pytest
from redis import Redis
from support.health import started, wait_until_ready
from support.kafka import kafka_records
from support.raw_headers import produce_batch
from support.scoring import HEADERS, ROUTING
from support.waiting import wait_until

from stream_router.adapters.avro.records import decode_prediction
from stream_router.core.dead_letter import REASON_HEADER

pytestmark = pytest.mark.stack


def test_the_batch_job_drains_its_lane_says_what_it_did_and_can_come_again(lane):
    lane.fill(range(1000))
    done = lane.drain("even", "--max-batch", "100")
    assert done.wait() == 0, done.stderr
    assert json.loads(done.stdout) | {"batches": 0} == {
        "route": lane.route.name,
        "lane": "canary",
        "model_version": "even",
        "predictions": 1000,
        "errors": 0,
        "dead_letters": 0,
        "batches": 0,
    }
    lane.fill(range(1000, 1010))
    assert json.loads(lane.drain("even").stdout)["predictions"] == 10
    assert json.loads(lane.drain("even").stdout)["predictions"] == 0
    predictions = lane.predictions()
    assert sorted(p.request_id for p in predictions) == sorted(f"r{number}" for number in range(1010))
    assert all(p.value is (int(p.request_id[1:]) % 2 == 0) for p in predictions)


def test_a_prediction_carries_what_the_monitor_and_an_auditor_need(lane):
    lane.fill(range(20))
    assert lane.drain("even").wait() == 0
    records = kafka_records(lane.bootstrap, lane.route.topic("predictions"))
    for record in records:
        prediction = decode_prediction(record.value)
        assert record.key == prediction.request_id.encode()
        assert prediction.key == f"user-{prediction.request_id[1:]}".encode()
        assert (prediction.epoch, prediction.digest, prediction.rollout) == (7, "1f3a9c0b77d2", 3)
        assert prediction.routed_at == ROUTING.routed_at
        assert (prediction.lane, prediction.model_version) == ("canary", "even")
        assert prediction.model_digest == "digest of even"
        assert 0 < prediction.requested_at <= prediction.scored_at
        assert 0 <= prediction.batch_index < prediction.batch_size
        assert prediction.model_seconds >= 0
        assert (prediction.value is None, prediction.error) == (False, None)
    places = [(decode_prediction(r.value).batch_id, decode_prediction(r.value).batch_index) for r in records]
    assert len(set(places)) == len(places)


def test_a_model_that_raises_spoils_only_its_own_rows(lane):
    lane.fill(range(50))
    done = lane.drain("poor")
    assert json.loads(done.stdout)["errors"] == 5
    for prediction in lane.predictions():
        is_poor = prediction.request_id.endswith("7")
        assert prediction.error == ("ValueError: cannot digest a 7" if is_poor else None)
        assert (prediction.value is None) == is_poor


def test_a_model_that_answers_too_few_gives_errors_not_wrong_answers(lane):
    lane.fill(range(5))
    assert lane.drain("short", "--max-batch", "5").wait() == 0
    assert {p.value for p in lane.predictions()} == {None}
    assert all("predictions for" in p.error for p in lane.predictions())


def test_what_cannot_be_scored_is_a_prediction_with_error_and_what_has_no_id_a_dead_letter(lane):
    lane.put({"request_id": "good", "x": 2})
    lane.put(b"not JSON", headers=[("ce_id", b"broken"), *HEADERS])
    lane.put({"request_id": "named by its field", "x": 2}, headers=[("ce_id", b"named by ce_id"), *HEADERS])
    lane.put(b"not JSON either", key=b"k")
    lane.put({"x": 4})
    lane.put({"request_id": "never routed", "x": 6}, headers=[("other", b"1")])
    lane.put(b'{"request_id": "\\ud800", "x": 8}')
    done = lane.drain("even")
    assert json.loads(done.stdout) | {"batches": 0, "route": ""} == {
        "route": "",
        "lane": "canary",
        "model_version": "even",
        "batches": 0,
        "predictions": 3,
        "errors": 1,
        "dead_letters": 4,
    }
    predictions = {p.request_id: p for p in lane.predictions()}
    assert set(predictions) == {"good", "broken", "named by ce_id"}
    assert predictions["broken"].error.startswith("DecodeError: the request is not JSON")
    letters = {letter.value: letter for letter in lane.dead_letters()}
    assert set(letters) == {
        b"not JSON either",
        b'{"x": 4}',
        b'{"request_id": "never routed", "x": 6}',
        b'{"request_id": "\\ud800", "x": 8}',
    }
    letter = letters[b"not JSON either"]
    assert letter.key == b"k"
    assert letter.headers[: len(HEADERS)] == HEADERS
    added = dict(letter.headers)
    assert added["__connect.errors.topic"] == lane.route.lane_topic("canary").encode()
    assert b"has no id" in added[REASON_HEADER]


def test_a_header_name_that_is_not_utf8_makes_a_dead_letter_and_the_job_goes_on(lane):
    routed = {name.encode(): content for name, content in HEADERS}
    good, bad = b'{"request_id": "good", "x": 2}', b'{"request_id": "bad", "x": 2}'
    records = [*[(b"k", good, routed)] * 100, (b"k", bad, routed | {b"h\xff": b"1"}), (b"k", good, routed)]
    produce_batch(lane.bootstrap, lane.route.lane_topic("canary"), records)
    done = json.loads(lane.drain("even").stdout)
    assert (done["predictions"], done["dead_letters"]) == (101, 1)
    (letter,) = lane.dead_letters()
    assert (letter.key, letter.value) == (b"k", bad)
    assert b"is not UTF-8" in dict(letter.headers)[REASON_HEADER]
    assert json.loads(lane.drain("even").stdout)["predictions"] == 0


def test_a_job_says_what_it_starts_with_and_is_ready_with_its_partitions(lane):
    start = started(lane.start("even", "--metrics-port", "0", "--log-format", "json"))
    assert (start["event"], start["route"]) == ("scoring starts", lane.route.name)
    assert (start["lane"], start["model"], start["model_version"]) == ("canary", "support.models:load", "even")
    assert wait_until_ready(start["metrics"]) == {"assignment": "ready"}


def test_the_first_job_registers_its_version_and_another_version_does_not_start(lane, stack):
    assert lane.drain("even").wait() == 0
    with Redis.from_url(stack.redis_url) as redis:
        assert redis.hget(lane.route.key("models"), "canary") == b"even"
    refused = lane.drain("poor")
    assert refused.wait() == 2
    assert "'even'" in refused.stderr
    assert "'poor'" in refused.stderr


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("support.models", "module:callable"),
        ("no_such_module:load", "cannot be imported"),
        ("support.models:nothing", "cannot be imported"),
        ("support.models:Rows", "not a callable"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_refused(lane, model, said):
    command = ("score", "--route", lane.route.name, "--lane", "canary", "--model", model, "--model-version", "1")
    refused = lane.processes.run(*command, PYTHONPATH="tests")
    assert refused.wait() == 2
    assert said in refused.stderr


def test_a_batch_job_that_is_stopped_before_its_end_says_so(lane):
    lane.fill(range(2000))
    job = lane.start("slow", "--until", "end", "--max-batch", "10")
    wait_until(lane.predictions, 60, "predictions")
    assert job.terminate() == 1
    assert "before the end of the lane" in job.stderr
