"""What the join makes of single cases; tests/core/test_join_laws.py has its laws."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from support.join_worlds import BEGIN, HORIZON, NOWHERE, POLICY, REACH, SPLITS, history, labels, prediction, predictions
from support.recount import entity_of, order_of

from stream_router.adapters.avro.evidence import encode_evidence
from stream_router.core.evidence import (
    ACCURACY,
    ERROR,
    LABELLING,
    LATENCY,
    MODEL_LATENCY,
    PREDICTION,
    BadDelays,
    Count,
    Evidence,
    OutcomeKey,
    Outcomes,
    Positions,
)
from stream_router.core.joining.join import MAX_ROWS, Join
from stream_router.core.joining.join_output import JoinOutput
from stream_router.core.joining.label import Label
from stream_router.core.joining.new_texts import LONGEST, MOST
from stream_router.core.joining.waiting_labels import MAX_WAITING
from stream_router.core.policy import CLOCK_SKEW_MS
from stream_router.core.scoring.prediction import Prediction

DEADLINE = POLICY.prediction_deadline


@pytest.fixture
def join() -> Join:
    return Join(POLICY, NOWHERE, history())


def counted(join: Join) -> Count:
    (count,) = join.take().counts
    return count


def taken(join: Join, kind: str = ACCURACY) -> tuple[Outcomes, ...]:
    return tuple(outcomes for outcomes in join.take().outcomes if outcomes.key.metric == kind)


def test_rows_are_forgotten_when_nothing_can_change_them_any_more(join: Join) -> None:
    join.on_predictions(predictions(prediction("joined"), prediction("unlabelled")))
    join.on_labels(labels(Label("joined", True, BEGIN + 1, 0), Label("orphan", True, BEGIN + 2, 1)))
    join.on_watermark(BEGIN + REACH)
    assert (join.rows, join.early) == (2, 1)
    assert join.rebuild_from(Positions(2, 2)) == Positions(0, 0)
    join.on_watermark(BEGIN + 3 * REACH)
    assert (join.rows, join.early) == (0, 0)
    assert join.rebuild_from(Positions(2, 2)) == Positions(2, 2)
    assert join.kinds["orphan"] == 1


def test_each_kind_is_counted(join: Join) -> None:
    join.on_labels(labels(Label("early", True, BEGIN, 0)))
    join.on_predictions(
        predictions(prediction("early"), prediction("early"), prediction("late", scored_at=BEGIN + REACH + 1))
    )
    join.on_labels(
        labels(Label("early", True, BEGIN, 1), Label("early", False, BEGIN, 2), Label("early", False, BEGIN + REACH, 3))
    )
    join.on_predictions(predictions(prediction("unattributed", epoch=0, digest=""), first=3))
    assert join.kinds == {"joined": 1, "duplicate": 2, "revised": 1, "expired": 2, "unattributed": 1}


def test_a_label_too_late_for_its_row_is_expired_once_and_never_an_orphan(join: Join) -> None:
    join.on_labels(labels(Label("a", True, BEGIN + REACH, 0)))
    join.on_predictions(predictions(prediction("a")))
    join.on_labels(labels(Label("a", False, BEGIN + REACH, 1)))
    assert join.kinds == {"expired": 2}
    join.on_watermark(BEGIN + 10 * REACH)
    assert join.kinds == {"expired": 2}
    assert join.early == 0


def test_a_prediction_within_the_deadline_of_an_earlier_one_is_the_same_and_beyond_another(join: Join) -> None:
    times = [BEGIN, BEGIN + DEADLINE, BEGIN + DEADLINE + 1, BEGIN + 2 * DEADLINE + 2]
    join.on_predictions(predictions(*(prediction("a", routed_at=at, scored_at=at) for at in times)))
    assert join.rows == 3
    assert join.kinds == {"duplicate": 1}
    assert sum(count.predicted for count in join.take().counts) == 3


def test_an_id_that_comes_again_after_its_row_is_forgotten_is_another_request_whoever_reads() -> None:
    later = BEGIN + 5 * REACH
    first, again = prediction("a"), prediction("a", routed_at=later, scored_at=later + 5)
    outcomes = []
    for forgets in (True, False):
        join = Join(POLICY, NOWHERE, history())
        join.on_predictions(predictions(first))
        join.on_labels(labels(Label("a", True, BEGIN + 9, 0)))
        if forgets:
            join.on_watermark(later)
        join.on_predictions(predictions(again, first=1))
        join.on_labels(labels(Label("a", False, later + 9, 1)))
        outcomes.append(taken(join))
    assert outcomes[0] == outcomes[1]
    assert [outcome.key.window for outcome in outcomes[0]] == [BEGIN, later]


def test_the_oldest_row_that_a_label_fits_has_it(join: Join) -> None:
    routed = [BEGIN, BEGIN + HORIZON]
    join.on_predictions(predictions(*(prediction("a", routed_at=at, scored_at=at) for at in routed)))
    join.on_labels(labels(Label("a", True, BEGIN + HORIZON, 0), Label("a", True, BEGIN + HORIZON + 1, 1)))
    assert join.kinds == {"joined": 2}
    assert {outcome.key.window: outcome.delay.tolist() for outcome in taken(join)} == {
        BEGIN: [HORIZON],
        BEGIN + HORIZON: [1],
    }


def test_repeats_of_a_label_that_waits_cost_nothing(join: Join) -> None:
    repeats = [Label("unknown", True, BEGIN + offset, offset) for offset in range(5_000)]
    join.on_labels(labels(*repeats))
    assert join.early == 1
    assert join.kinds == {"duplicate": 4_999}
    join.on_labels(labels(Label("unknown", False, BEGIN + 5_000, 5_000), Label("unknown", True, BEGIN + 5_001, 5_001)))
    assert join.early == 3


def test_labels_beyond_the_limit_are_refused_and_counted() -> None:
    join = Join(POLICY, NOWHERE, history(), early_limit=3)
    join.on_labels(labels(*(Label(f"r{offset}", True, BEGIN, offset) for offset in range(5))))
    assert (join.early, join.kinds) == (3, {"refused": 2})
    join.on_predictions(predictions(*(prediction(f"r{number}") for number in range(5))))
    assert join.kinds["joined"] == 3
    join.on_labels(labels(Label("r4", True, BEGIN, 5), Label("r9", True, BEGIN, 6)))
    assert join.kinds == {"joined": 4, "refused": 2}


def test_of_one_id_only_so_many_labels_wait(join: Join) -> None:
    join.on_labels(labels(*(Label("a", offset, BEGIN + offset, offset) for offset in range(MAX_WAITING + 10))))
    assert (join.early, join.kinds) == (MAX_WAITING, {"refused": 10})


def test_an_id_that_every_record_has_is_one_request_a_deadline_and_costs_no_more(join: Join) -> None:
    same = [prediction("null", routed_at=BEGIN + turn, scored_at=BEGIN + turn) for turn in range(5_000)]
    join.on_predictions(predictions(*same))
    assert (join.rows, join.kinds) == (1, {"duplicate": 4_999})


@pytest.mark.parametrize("part", [1, 7, 1_000])
def test_of_one_id_only_so_many_rows_are_held_and_what_comes_more_is_no_other_s_loss(join: Join, part: int) -> None:
    """A search goes through the rows of an id one by one."""
    times = [BEGIN + turn * (DEADLINE + 1) for turn in range(MAX_ROWS + 10)]
    same = [prediction("null", routed_at=at, scored_at=at) for at in times for _ in range(2)]
    mixed = [*same[:-1], prediction("other"), same[-1]]
    for first in range(0, len(mixed), part):
        join.on_predictions(predictions(*mixed[first : first + part], first=first))
    assert (join.rows, join.kinds) == (MAX_ROWS + 1, {"duplicate": MAX_ROWS, "refused": 20})


@pytest.mark.parametrize("lane", ["stable", "canary"])
def test_a_late_answer_is_counted_with_its_label_and_gives_no_outcome(join: Join, lane: str) -> None:
    late = prediction("a", lane=lane, scored_at=BEGIN + DEADLINE + 1)
    join.on_predictions(predictions(late))
    join.on_labels(labels(Label("a", True, BEGIN + DEADLINE + 2, 0)))
    output = join.take()
    assert output.outcomes == ()
    assert [(c.predicted, c.late, c.labelled, c.correct) for c in output.counts] == [(1, 1, 1, 1)]


def test_a_foreign_prediction_belongs_to_the_split_in_force_when_it_was_routed(join: Join) -> None:
    foreign = prediction("a", epoch=0, digest="", rollout=0, lane="canary", routed_at=BEGIN + 220_000, scored_at=0)
    untold = replace(foreign, request_id="b", routed_at=0)
    join.on_predictions(predictions(foreign, untold, times=[BEGIN + 230_000, BEGIN + 260_000]))
    join.on_labels(labels(Label("a", True, BEGIN + 230_000, 0), Label("b", True, BEGIN + 260_001, 1)))
    keys = {(o.key.epoch, o.key.digest, o.key.rollout): o.delay.tolist() for o in taken(join)}
    assert keys == {(3, SPLITS[2].digest, 1): [10_000], (4, SPLITS[3].digest, 2): [1]}


def test_a_foreign_prediction_before_the_first_split_counts_and_gives_no_outcome(join: Join) -> None:
    join.on_predictions(predictions(prediction("a", epoch=0, digest="")))
    join.on_labels(labels(Label("a", True, BEGIN, 0)))
    output = join.take()
    assert (output.outcomes, join.kinds["unattributed"]) == ((), 1)
    assert [(count.predicted, count.labelled) for count in output.counts] == [(1, 1)]


def test_stable_is_thinned_by_the_order_hash_and_canary_is_not(join: Join) -> None:
    numbers = range(4_000)
    for first, lane in ((0, "stable"), (4_000, "canary")):
        those = [prediction(f"{lane}{n}", lane=lane, epoch=2, digest=SPLITS[1].digest) for n in numbers]
        join.on_predictions(predictions(*those, first=first))
        join.on_labels(labels(*(Label(f"{lane}{n}", True, BEGIN, first + n) for n in numbers)))
    output = join.take()
    found = {outcomes.key.lane: set(outcomes.order.tolist()) for outcomes in output.outcomes}
    limit = 20 * 0.02 / 0.98
    assert found["stable"] == {o for n in numbers if (o := order_of(f"stable{n}")) % 2**64 / 2**64 < limit}
    assert 0.35 < len(found["stable"]) / 4_000 < 0.45
    assert len(found["canary"]) == 4_000
    assert {count.lane: count.labelled for count in output.counts} == {"stable": 4_000, "canary": 4_000}


def test_beside_a_canary_without_a_share_stable_gives_no_outcome_and_beside_an_unknown_share_all() -> None:
    splits = history([])
    join = Join(POLICY, NOWHERE, splits)

    def outcomes(first: int) -> int:
        those = [prediction(f"{first}-{n}", epoch=4, digest=SPLITS[3].digest) for n in range(100)]
        join.on_predictions(predictions(*those, first=first))
        join.on_labels(labels(*(Label(p.request_id, True, BEGIN, first + n) for n, p in enumerate(those))))
        return sum(map(len, taken(join)))

    assert outcomes(0) == 100
    splits.add(SPLITS[3])
    assert outcomes(100) == 0


def test_bad_answers_of_stable_tell_their_delays_whatever_the_rollout(join: Join) -> None:
    lanes = {"right": "stable", "wrong": "stable", "canary": "canary"}
    for rollout in (0, 1):
        those = [prediction(f"{name}{rollout}", lane=lane, rollout=rollout) for name, lane in lanes.items()]
        join.on_predictions(predictions(*those, first=3 * rollout))
        told = [Label(p.request_id, "right" in p.request_id, BEGIN + 7, 0) for p in those]
        join.on_labels(labels(*(label._replace(offset=3 * rollout + n) for n, label in enumerate(told))))
        output = join.take()
        assert [(bad.window, bad.delays) for bad in output.bad_delays] == [(BEGIN, {7: 1})]
        assert sum(len(o) for o in output.outcomes if o.key.metric == ACCURACY) == 3 * rollout


def test_a_delay_is_never_negative_and_the_entity_is_the_key(join: Join) -> None:
    join.on_predictions(predictions(prediction("a", key=b"entity"), prediction("b", key=b"entity"), prediction("c")))
    join.on_labels(labels(*(Label(name, True, BEGIN - 3, offset) for offset, name in enumerate("abc"))))
    (outcomes,) = taken(join)
    assert outcomes.delay.tolist() == [0, 0, 0]
    assert outcomes.order.tolist() == [order_of("a"), order_of("b"), order_of("c")]
    assert outcomes.entity.tolist() == [entity_of(b"entity"), entity_of(b"entity"), order_of("c")]


def test_assigned_by_request_each_request_is_its_own_entity() -> None:
    join = Join(replace(POLICY, assign_by="request"), NOWHERE, history())
    join.on_predictions(predictions(prediction("a", key=b"entity"), prediction("b", key=b"entity")))
    join.on_labels(labels(*(Label(name, True, BEGIN + 3, offset) for offset, name in enumerate("ab"))))
    (outcomes,) = taken(join)
    assert outcomes.entity.tolist() == [order_of("a"), order_of("b")]


def test_latencies_are_of_what_tells_them(join: Join) -> None:
    join.on_predictions(
        predictions(
            prediction("a", batch_size=10, model_seconds=0.0007),
            prediction("b", requested_at=0, batch_size=0),
            prediction("c", scored_at=0, model_seconds=float("nan")),
            prediction("d", model_seconds=float("nan")),
        )
    )
    count = counted(join)
    assert count.latencies == {10: 2}
    assert count.model_latencies == {7: 1, 0: 1}


def test_times_far_from_everything_break_nothing(join: Join) -> None:
    wild = [0, -1, 2**63 - 1, -(2**63), 2**62]
    join.on_predictions(
        predictions(
            *(
                prediction(
                    f"r{a}-{b}", routed_at=a, scored_at=b, requested_at=-b - 1, epoch=0, digest="", model_seconds=1e308
                )
                for a in wild
                for b in wild
            ),
            times=[wild[n % 5] for n in range(25)],
        )
    )
    join.on_labels(labels(*(Label(f"r{t}-{t}", True, t, offset) for offset, t in enumerate(wild))))
    join.take()
    join.on_watermark(2**61)


def test_the_state_of_another_policy_is_refused(join: Join) -> None:
    join.on_predictions(predictions(prediction("a")))
    with pytest.raises(ValueError, match=r"window=10000 ms.*window=5000 ms"):
        Join.restored(replace(POLICY, window=5_000), NOWHERE, history(), join.state())
    with pytest.raises(ValueError, match=r"assign_by=key.*assign_by=request"):
        Join.restored(replace(POLICY, assign_by="request"), NOWHERE, history(), join.state())
    assert Join.restored(replace(POLICY, alpha=0.01), Positions(1, 0), history(), join.state()).rows == 1


def test_what_nobody_is_counted_by_any_more_is_forgotten(join: Join) -> None:
    before: list[Prediction] = []
    for turn in range(40):
        at = BEGIN + turn * 5 * REACH
        those = [
            prediction(f"{turn}-{n}", routed_at=at, scored_at=at, model_version=f"v{turn}-{n}") for n in range(100)
        ]
        join.on_predictions(predictions(*those, first=100 * turn))
        join.on_labels(labels(*(Label(p.request_id, True, at, 100 * turn + n) for n, p in enumerate(those))))
        output = join.take()
        read = [outcomes.key.model_version for outcomes in output.outcomes if outcomes.key.metric == ACCURACY]
        assert sorted(read) == sorted(p.model_version for p in those)
        assert {outcomes.key.model_version for outcomes in output.outcomes if outcomes.key.metric == LABELLING} == {
            p.model_version for p in before
        }, "of the turn before"
        before = those
        assert {count.model_version for count in output.counts} == {p.model_version for p in those}
        join.on_watermark(at + 4 * REACH)
    assert len(join._telling.cells) <= 1_200  # noqa: SLF001 - its memory


def test_a_flush_is_cut_into_records_of_bounded_size(join: Join) -> None:
    those = range(45_000)
    join.on_predictions(predictions(*(prediction(f"r{number}") for number in those)))
    join.on_labels(labels(*(Label(f"r{number}", True, BEGIN, number) for number in those)))
    records = join.take().records(by="w", written_at=1, partition=3, positions=Positions(5, 6), watermark=7)
    sizes = [sum(map(len, record.outcomes)) for record in records]
    assert sizes == [*[20_000] * 11, 5_000], "five kinds"
    assert [record.positions for record in records] == [*[None] * 11, Positions(5, 6)]
    assert [record.watermark for record in records] == [*[None] * 11, 7]
    assert sum(count.labelled for record in records for count in record.counts) == 45_000
    for kind in (ACCURACY, ERROR, PREDICTION, LATENCY, MODEL_LATENCY):
        columns = [outcomes for record in records for outcomes in record.outcomes if outcomes.key.metric == kind]
        orders = np.concatenate([outcomes.order for outcomes in columns])
        assert sorted(orders.tolist()) == sorted(order_of(f"r{number}") for number in those)


def test_many_small_columns_are_cut_into_records_of_bounded_size(join: Join) -> None:
    those = [prediction(f"r{n}", model_version=f"v{n % 5_000}") for n in range(10_000)]
    join.on_predictions(predictions(*those))
    join.on_labels(labels(*(Label(f"r{n}", True, BEGIN, n) for n in range(10_000))))
    records = join.take().records(by="w", written_at=1, partition=3, positions=Positions(5, 6), watermark=7)
    assert max(len(encode_evidence(record)) for record in records) < 1_000_000
    assert sum(len(outcomes) for record in records for outcomes in record.outcomes) == 50_000


def test_counts_and_columns_are_cut_into_records_by_their_bytes() -> None:
    """Of keys as long as may be, and of histograms with all buckets."""
    version, windows = "é" * 128, range(2**60, 2**60 + 2_000)
    buckets = dict.fromkeys(range(400), -(2**60))
    one = np.ones(1, np.int64)
    output = JoinOutput(
        tuple(
            Outcomes(
                key=OutcomeKey(window, 2**60, version, 2**60, version, version, "accuracy"),
                **dict.fromkeys(("entity", "order", "delay", "time"), one),
                bad=one == 1,
                value=one.astype(np.float64),
            )
            for window in windows
        ),
        [BadDelays(window, buckets) for window in windows],
        [
            Count(
                window=window,
                rollout=2**60,
                lane=version,
                model_version=version,
                **dict.fromkeys(("delays", "latencies", "model_latencies"), buckets),
            )
            for window in windows
        ],
    )
    records = output.records(by="w", written_at=1, partition=0, positions=Positions(1, 1), watermark=None)
    sizes = [len(encode_evidence(record)) for record in records]
    assert max(sizes) < 1_000_000
    assert min(sizes[1:-1]) > 500_000, "no more records than needed"
    assert sum(len(record.outcomes) for record in records) == len(windows)
    assert [delays.window for record in records for delays in record.bad_delays] == list(windows)
    assert [count.window for record in records for count in record.counts] == list(windows)


def test_a_flush_without_news_is_one_record_with_its_positions() -> None:
    assert JoinOutput().records(by="w", written_at=1, partition=0, positions=Positions(5, 6), watermark=None) == [
        Evidence(by="w", written_at=1, partition=0, positions=Positions(5, 6))
    ]


MATURED = BEGIN + HORIZON + CLOCK_SKEW_MS


def test_a_prediction_is_an_outcome_when_it_is_read_with_what_was_predicted(join: Join) -> None:
    values = [True, 3, 0.5, "yes", "yes"]
    join.on_predictions(
        predictions(*(prediction(f"r{n}", key=b"entity", value=value) for n, value in enumerate(values)))
    )
    join.on_predictions(predictions(prediction("failed", value=None, error="failed"), prediction("r0"), first=5))
    output = join.take()
    (outcomes,) = (column for column in output.outcomes if column.key.metric == PREDICTION)
    code = float(entity_of(b"yes") % 2**64 >> 11)
    assert outcomes.value.tolist()[:-1] == [1.0, 3.0, 0.5, code, code]
    assert np.isnan(outcomes.value[-1])
    assert outcomes.bad is None
    assert outcomes.entity.tolist() == [entity_of(b"entity")] * 5 + [order_of("failed")]
    assert set(outcomes.time.tolist()) == {BEGIN + 5}
    assert set(outcomes.delay.tolist()) == {5}
    assert output.texts == {code: "yes"}
    join.on_predictions(predictions(prediction("again", value="yes"), first=7))
    assert join.take().texts == {}, "each is told once"
    join.on_predictions(predictions(prediction("next", value="yes", rollout=2), first=8))
    assert join.take().texts == {code: "yes"}, "and once more in the next rollout, where a replay may begin"
    join.on_predictions(predictions(prediction("of before", value="yes"), first=9))
    assert join.take().texts == {}


def test_of_a_micro_batch_its_first_row_says_whether_it_failed(join: Join) -> None:
    """Whichever rows fail: the choice looks at the place alone."""
    rows = [("a0", 0, None), ("a1", 1, "failed"), ("b0", 0, "failed"), ("b1", 1, "failed")]
    join.on_predictions(
        predictions(
            *(
                prediction(name, key=b"entity", batch_index=index, value=None if error else 1, error=error)
                for name, index, error in rows
            )
        )
    )
    (outcomes,) = taken(join, ERROR)
    assert outcomes.order.tolist() == [order_of("a0"), order_of("b0")]
    assert outcomes.bad.tolist() == [False, True]
    assert set(outcomes.entity.tolist()) == {entity_of(b"entity")}


def test_an_error_is_no_answer_that_could_be_wrong(join: Join) -> None:
    """It counts in its window, as labelled and not correct."""
    join.on_predictions(predictions(prediction("failed", value=None, error="failed"), prediction("wrong", value=2)))
    join.on_labels(labels(Label("failed", 1, BEGIN, 0), Label("wrong", 1, BEGIN, 1)))
    output = join.take()
    (outcomes,) = (column for column in output.outcomes if column.key.metric == ACCURACY)
    assert (outcomes.order.tolist(), outcomes.bad.tolist()) == ([order_of("wrong")], [True])
    assert sum(count.labelled for count in output.counts) == 2
    assert sum(count.correct for count in output.counts) == 0


def test_so_many_texts_are_told_and_so_much_of_each(join: Join) -> None:
    join.on_predictions(predictions(*(prediction(f"r{n}", value=f"{n:03}" + "é" * 200) for n in range(2 * MOST))))
    texts = join.take().texts
    assert len(texts) == MOST
    assert set(map(len, texts.values())) == {LONGEST}
    join.on_predictions(predictions(prediction("more", value="more"), first=2 * MOST))
    assert join.take().texts == {}


def test_a_micro_batch_has_one_duration_that_of_its_first_row_also_of_an_error(join: Join) -> None:
    batch = [prediction(f"r{n}", batch_index=n, batch_size=4, model_seconds=0.25, key=b"entity") for n in range(4)]
    failed = prediction("failed", batch_size=2, model_seconds=0.5, value=None, error="failed")
    join.on_predictions(predictions(*batch, failed))
    output = join.take().outcomes
    for kind, values in ((LATENCY, [0.01, 0.01]), (MODEL_LATENCY, [1.0, 1.0])):
        (outcomes,) = (column for column in output if column.key.metric == kind)
        assert outcomes.bad is None
        assert outcomes.value.tolist() == values
        assert outcomes.entity.tolist() == outcomes.order.tolist() == [order_of("r0"), order_of("failed")]


def test_what_is_no_duration_gives_none(join: Join) -> None:
    untold = [
        {"scored_at": 0, "requested_at": BEGIN + 6},
        {"requested_at": BEGIN + 6, "batch_size": 0},
        {"requested_at": 0, "model_seconds": float("nan")},
        {"requested_at": 0, "model_seconds": float("inf")},
        {"requested_at": 0, "model_seconds": -0.1},
        {"requested_at": 0, "model_seconds": 1e308, "batch_size": 1_000},
    ]
    join.on_predictions(predictions(*(prediction(f"r{n}", **fields) for n, fields in enumerate(untold))))
    kinds = [column.key.metric for column in join.take().outcomes]
    assert kinds == [ERROR, PREDICTION]


def test_a_window_is_told_once_its_labels_count_no_more(join: Join) -> None:
    """Value is the lower bound of a bucket; the order is that of the hashes."""
    those = [prediction(name, routed_at=BEGIN + n) for n, name in enumerate(["none", "one", "again", "revised"])]
    join.on_predictions(predictions(*those))
    told = [("one", True, 1_003), ("again", True, 7), ("again", True, 9), ("revised", True, 0), ("revised", False, 9)]
    join.on_labels(labels(*(Label(name, value, BEGIN + at, n) for n, (name, value, at) in enumerate(told))))
    join.on_watermark(MATURED - 1)
    assert taken(join, LABELLING) == ()
    join.on_watermark(MATURED)
    (outcomes,) = taken(join, LABELLING)
    found = {row.order: (row.delay, row.time, row.bad, row.value) for row in outcomes.rows()}
    assert found[order_of("one")] == (HORIZON - 1, BEGIN + HORIZON, False, 960.0)
    assert found[order_of("again")] == (HORIZON - 2, BEGIN + HORIZON, False, 5.0)
    assert found[order_of("revised")] == (HORIZON - 3, BEGIN + HORIZON, True, 0.0)
    assert np.isnan(found[order_of("none")][3])
    assert list(found) == sorted(found)
    join.on_watermark(MATURED + 5_000)
    join.on_labels(labels(Label("none", True, BEGIN + 1, len(told))))
    join.on_watermark(MATURED + POLICY.window)
    assert taken(join, LABELLING) == ()


def test_a_successor_tells_the_windows_that_its_predecessor_did_not() -> None:
    those = [prediction(f"r{n}", routed_at=at, scored_at=at) for n in range(4) if (at := BEGIN + n * POLICY.window)]
    orders: list[int] = []
    watermarks = [0, MATURED, MATURED + 3, MATURED + 2 * POLICY.window, MATURED + 3 * POLICY.window]
    for before, watermark in pairwise(watermarks):
        join = Join(POLICY, Positions(4, 0), history(), told_until=before)
        join.on_predictions(predictions(*those))
        join.on_watermark(watermark)
        orders += [order for column in taken(join, LABELLING) for order in column.order.tolist()]
    assert orders == [order_of(f"r{n}") for n in range(4)]


def test_the_time_that_keeps_watermarks_frequent_is_that_of_what_they_may_still_ripen(join: Join) -> None:
    join.on_predictions(predictions(prediction("a")))
    assert join.take().newest_unripe == BEGIN + 5
    join.on_watermark(MATURED)
    output = join.take()
    assert [column.key.metric for column in output.outcomes] == [LABELLING]
    assert output.newest_unripe == 0


def test_texts_come_before_what_they_stand_for_and_find_room() -> None:
    texts = {float(n): "é" * 100 for n in range(100)}
    one = np.ones(1, np.int64)
    column = Outcomes(
        key=OutcomeKey(0, 1, "d", 1, "canary", "v", PREDICTION),
        **dict.fromkeys(("entity", "order", "delay", "time"), np.repeat(one, 40_000)),
        bad=np.zeros(40_000, np.bool_),
        value=np.zeros(40_000),
    )
    output = JoinOutput((column,), texts=texts)
    records = output.records(by="w", written_at=1, partition=0, positions=Positions(1, 1), watermark=None)
    assert [record.texts for record in records] == [texts, *[{}] * (len(records) - 1)]
    assert max(len(encode_evidence(record)) for record in records) < 1_000_000
    assert JoinOutput(texts=texts)
