"""Records that can never be handled, and what is counted: dead letters, limits, totals, metrics."""

import json

import pytest
import structlog
from confluent_kafka import KafkaError, Message, TopicPartition
from support.kafka_script import assigned, fails, first
from support.loops import DEAD, GROUP, OUT, SOURCE, run_handler, run_loop, source_faults, where_from
from support.model_scripts import scorer_of
from support.models import load
from support.scripted_kafka import ScriptedKafka

from stream_router.adapters.avro.records import decode_prediction, decode_split
from stream_router.adapters.metrics import DEAD_LETTERS, ROUTED, SCORED
from stream_router.core.dead_letter import REASON_HEADER
from stream_router.core.route import Route
from stream_router.core.routing.applied_split import AppliedSplit
from stream_router.core.routing.header import HEADER, parse_routing
from stream_router.core.routing.lane_limits import LaneLimits
from stream_router.core.routing.routing_state import RoutingState
from stream_router.errors import DeadLetterLimitError
from stream_router.processes.route import Router
from stream_router.settings import DeadLetterLimits, Settings

ROUTE = Route("r")
UNDONE = fails(KafkaError._INCONSISTENT)  # noqa: SLF001 - librdkafka's own code is spelt so
SPLIT = AppliedSplit(raw=b'{"stable": 0.5, "canary": 0.5}', canary=0.5, epoch=3, rollout=2)


@pytest.fixture
def kafka(monkeypatch):
    kafka = ScriptedKafka(monkeypatch)
    kafka.script("consume", first(assigned(0)))
    return kafka


def limits(**given) -> Settings:
    return Settings(dead_letters=DeadLetterLimits(**given))


def value(metric, *labels) -> float:
    return metric.labels(*labels)._value.get()  # noqa: SLF001 - as prometheus_client's own tests read it


def test_a_poison_record_becomes_a_dead_letter_with_its_origin_in_connects_headers(kafka):
    headers = [("h", b"1"), ("h", None), ("", b"")]
    kafka.fill(SOURCE, b"good", None, b"poison", b"fine", headers=headers, key=b"k")
    run_loop(kafka)
    assert source_faults(kafka) == []
    assert kafka.values(OUT) == [b"good", b"fine"]
    missing, poison = kafka.records(DEAD)
    assert (missing.value(), poison.value(), poison.key()) == (None, b"poison", b"k")
    assert poison.headers() == [
        *headers,
        ("__connect.errors.topic", SOURCE.encode()),
        ("__connect.errors.partition", b"0"),
        ("__connect.errors.offset", b"2"),
        ("__connect.errors.stage", b"copy"),
        ("__connect.errors.exception.class.name", b"DecodeError"),
        ("__connect.errors.exception.message", b"nothing to copy"),
        (REASON_HEADER, b"nothing to copy"),
    ]


def test_past_the_quota_the_loop_ends_and_nothing_of_that_batch_is_committed(kafka):
    kafka.fill(SOURCE, b"a", b"poison", b"b", b"poison", b"poison", b"poison", b"c")
    with pytest.raises(DeadLetterLimitError, match="3 dead letters in a row") as ended:
        run_loop(kafka, limits(consecutive=2), max_batch=3)
    assert not ended.value.restart_mends
    assert kafka.values(OUT) == [b"a", b"b"]
    assert [where_from(letter) for letter in kafka.records(DEAD)] == [(0, 1)]
    assert kafka.offset(GROUP, SOURCE) == 3


@pytest.mark.parametrize("max_batch", [1, 2, 3, 5])
def test_a_good_record_ends_a_row_of_dead_letters_however_the_batches_fall(kafka, max_batch):
    kafka.fill(SOURCE, *[b"poison", b"good"] * 3, b"poison")
    run_loop(kafka, limits(consecutive=1), max_batch=max_batch)
    assert len(kafka.records(DEAD)) == 4


def test_a_row_of_dead_letters_goes_on_over_the_transactions(kafka):
    kafka.fill(SOURCE, *[b"poison"] * 3)
    with pytest.raises(DeadLetterLimitError):
        run_loop(kafka, limits(consecutive=2), max_batch=1)
    assert len(kafka.records(DEAD)) == 2


def test_dead_letters_of_an_aborted_transaction_do_not_count_against_the_quota(kafka):
    kafka.fill(SOURCE, b"poison", b"poison")
    kafka.script("commit_transaction", *[UNDONE] * 5)
    run_loop(kafka, limits(consecutive=2))
    assert source_faults(kafka) == []


def test_what_an_aborted_transaction_counted_is_not_counted_twice(kafka):
    before = value(DEAD_LETTERS, SOURCE, "DecodeError")
    kafka.fill(SOURCE, b"a", b"poison", b"poison")
    kafka.script("commit_transaction", *[UNDONE] * 5)
    handler = run_loop(kafka)
    assert handler.done == 3
    assert value(DEAD_LETTERS, SOURCE, "DecodeError") - before == 2


def router(*, max_bytes: int = 1_000) -> Router:
    state = RoutingState(who="router", in_force=SPLIT)
    topics = (ROUTE.lane_topic("stable"), ROUTE.lane_topic("canary"))
    limits = LaneLimits(topics=topics, retention=None, max_bytes=max_bytes)
    return Router(ROUTE, state, lambda: state.in_force, limits, by_request=False)


def routed(kafka):
    return kafka.records(ROUTE.lane_topic("stable")) + kafka.records(ROUTE.lane_topic("canary"))


@pytest.mark.parametrize("undone", [0, 1, 5])
def test_a_router_routes_and_counts_once_what_an_aborted_transaction_had_routed(kafka, undone):
    before = value(ROUTED, "stable") + value(ROUTED, "canary")
    values = [f"{number}".encode() for number in range(20)]
    for number in values:
        kafka.fill(SOURCE, number, key=number, headers=[("h", b"1")])
    kafka.script("commit_transaction", *[UNDONE] * undone)
    done = run_handler(kafka, router(), max_batch=7).done
    assert sorted(int(record.value()) for record in routed(kafka)) == list(range(20))
    assert done.routed == value(ROUTED, "stable") + value(ROUTED, "canary") - before == 20
    assert done.canary == len(kafka.records(ROUTE.lane_topic("canary")))
    for record in routed(kafka):
        assert record.headers()[0] == ("h", b"1")
        assert record.timestamp()[1] == 1_000
        assert parse_routing(record.headers()).digest == SPLIT.digest


def test_a_split_is_written_once_whole_with_the_first_transaction_that_commits_under_it(kafka):
    kafka.fill(SOURCE, b"a", b"b", key=b"k")
    kafka.script("commit_transaction", UNDONE, UNDONE)
    run_handler(kafka, router(), max_batch=1)
    (split,) = kafka.values(ROUTE.topic("splits"))
    assert decode_split(split) == SPLIT


def test_a_split_is_written_although_no_request_comes(kafka):
    kafka.offsets[GROUP, SOURCE, 0] = TopicPartition(SOURCE, 0, 0)  # else the start would be committed anyway
    run_handler(kafka, router())
    assert [decode_split(split) for split in kafka.values(ROUTE.topic("splits"))] == [SPLIT]


def test_a_request_that_no_lane_can_hold_is_a_dead_letter_and_the_others_are_routed(kafka):
    kafka.fill(SOURCE, b"a", b"x" * 500, b"b", key=b"k", headers=[("odd", None)])
    kafka.script("commit_transaction", UNDONE)
    done = run_handler(kafka, router(max_bytes=400)).done
    assert (done.routed, done.dead_letters) == (2, 1)
    assert [record.value() for record in routed(kafka)] == [b"a", b"b"]
    assert kafka.values(DEAD) == [b"x" * 500]


class UnreadableName(Message):
    """As the client gives a record with a header whose name is not UTF-8: asked again it would end the process."""

    asked = 0

    def headers(self):
        self.asked += 1
        assert self.asked == 1, "the client would end the process"
        cause = UnicodeDecodeError("utf-8", b"h\xff", 1, 2, "invalid start byte")
        if self.offset() % 2:
            raise cause
        raise SystemError("returned a result with an exception set") from cause


def fill_unreadable(kafka, *values):
    log = kafka.logs[SOURCE, 0]
    for number in values:
        log.append(UnreadableName(SOURCE, 0, len(log), key=b"k", value=number, timestamp=(1, 1_000)))


def test_a_request_with_an_unreadable_header_name_is_a_dead_letter_and_the_others_are_routed(kafka):
    kafka.fill(SOURCE, b"a", key=b"k", headers=[("h", b"1")])
    fill_unreadable(kafka, b"b", b"c")
    kafka.fill(SOURCE, b"d", key=b"k")
    done = run_handler(kafka, router()).done
    assert (done.routed, done.dead_letters) == (2, 2)
    assert [record.value() for record in routed(kafka)] == [b"a", b"d"]
    assert [(letter.value(), letter.key()) for letter in kafka.records(DEAD)] == [(b"b", b"k"), (b"c", b"k")]
    for letter in kafka.records(DEAD):
        assert letter.headers()[0] == ("__connect.errors.topic", SOURCE.encode())
        assert rb"name b'h\xff' is not UTF-8" in dict(letter.headers())[REASON_HEADER]


ROUTED_HEADER = [(HEADER, b"epoch=3;split=0123456789ab;rollout=2;t=1000")]


def request(number: int) -> bytes:
    return json.dumps({"request_id": f"r{number}", "x": number}).encode()


def test_a_scorer_diverts_what_has_an_unreadable_header_name(kafka):
    kafka.fill(SOURCE, request(0), headers=ROUTED_HEADER)
    fill_unreadable(kafka, request(1), request(2))
    scorer = scorer_of(ROUTE, load("even"))
    done = run_handler(kafka, scorer).done
    assert (done.predictions, done.dead_letters) == (1, 2)
    assert kafka.values(DEAD) == [request(1), request(2)]


def test_a_scorer_diverts_what_can_never_be_joined_and_predicts_the_rest_once(kafka):
    before = value(SCORED, "stable", "answered")
    kafka.fill(SOURCE, request(0), request(1), headers=ROUTED_HEADER)
    kafka.fill(SOURCE, None, b"no JSON", b"[]", b'{"request_id": true}', b'{"x": 1}', headers=ROUTED_HEADER)
    kafka.fill(SOURCE, request(2))
    kafka.fill(SOURCE, request(3), headers=[(HEADER, b"nonsense")])
    kafka.fill(SOURCE, request(4), headers=[(HEADER, b"earlier"), *ROUTED_HEADER])
    kafka.fill(SOURCE, None, headers=[("ce_id", b"by header"), *ROUTED_HEADER])
    kafka.script("commit_transaction", UNDONE, UNDONE)
    scorer = scorer_of(ROUTE, load("even"))
    done = run_handler(kafka, scorer).done
    predictions = [decode_prediction(prediction) for prediction in kafka.values(ROUTE.topic("predictions"))]
    values = {prediction.request_id: prediction.value for prediction in predictions}
    assert values == {"r0": True, "r1": False, "r4": True, "by header": None}
    assert predictions[-1].error.startswith("DecodeError: the request has no value")
    assert [where_from(letter)[1] for letter in kafka.records(DEAD)] == [2, 3, 4, 5, 6, 7, 8]
    assert (done.predictions, done.errors, done.dead_letters) == (4, 1, 7)
    assert value(SCORED, "stable", "answered") - before == 3


def test_a_model_that_fails_is_told_once_a_minute_with_one_of_its_requests(kafka):
    odd = json.dumps({"request_id": "r7", "x": 7}).encode()
    kafka.fill(SOURCE, request(2), odd, odd, request(2), odd, headers=ROUTED_HEADER)
    with structlog.testing.capture_logs() as lines:
        assert run_handler(kafka, scorer_of(ROUTE, load("poor")), max_batch=3).done.errors == 3
    assert [line for line in lines if line["event"] == "the model fails"] == [
        {
            "event": "the model fails",
            "log_level": "warning",
            "lane": "stable",
            "kind": "ValueError",
            "errors": 2,
            "error": "ValueError: cannot digest a 7",
            "request_id": "r7",
        }
    ]


def test_a_request_whose_id_or_key_no_prediction_can_hold_is_a_dead_letter_and_its_neighbours_are_scored(kafka):
    kafka.fill(SOURCE, request(0), headers=ROUTED_HEADER)
    for request_id in ("x" * 1_500_000, ["x" * 1_500_000]):
        kafka.fill(SOURCE, json.dumps({"request_id": request_id, "x": 2}).encode(), headers=ROUTED_HEADER)
    kafka.fill(SOURCE, request(1), headers=ROUTED_HEADER, key=b"k" * 950_000)
    kafka.fill(SOURCE, request(2), headers=ROUTED_HEADER)
    done = run_handler(kafka, scorer_of(ROUTE, load("even"))).done
    assert (done.predictions, done.dead_letters) == (2, 3)
    assert [where_from(letter)[1] for letter in kafka.records(DEAD)] == [1, 2, 3]
    assert all(
        sum(len(name) + len(content) for name, content in letter.headers()) < 2_000 for letter in kafka.records(DEAD)
    )


def test_no_prediction_is_larger_than_its_topic_takes(kafka):
    kafka.fill(SOURCE, request(0), headers=ROUTED_HEADER, key=b"k" * (1_000_000 - 65_536 - 8_192))
    run_handler(kafka, scorer_of(ROUTE, lambda rows: ["é" * 32_768 for _ in rows]))
    (prediction,) = kafka.records(ROUTE.topic("predictions"))
    assert 990_000 < len(prediction.value()) + len(prediction.key()) <= 1_000_000
