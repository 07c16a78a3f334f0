"""What the join makes of single cases; tests/core/test_join_laws.py has its laws."""

from dataclasses import replace

import numpy as np
import pytest
from support.join_worlds import BEGIN, HORIZON, NOWHERE, POLICY, REACH, SPLITS, history, labels, prediction, predictions
from support.recount import entity_of, order_of

from stream_router.adapters.avro.evidence import encode_evidence
from stream_router.core.evidence import BadDelays, Count, Evidence, OutcomeKey, Outcomes, Positions
from stream_router.core.joining.join import MAX_ROWS, Join
from stream_router.core.joining.join_output import JoinOutput
from stream_router.core.joining.label import Label
from stream_router.core.joining.waiting_labels import MAX_WAITING

DEADLINE = POLICY.prediction_deadline


@pytest.fixture
def join() -> Join:
    return Join(POLICY, NOWHERE, history())


def counted(join: Join) -> Count:
    (count,) = join.take().counts
    return count


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
        outcomes.append(join.take().outcomes)
    assert outcomes[0] == outcomes[1]
    assert [outcome.key.window for outcome in outcomes[0]] == [BEGIN, later]


def test_the_oldest_row_that_a_label_fits_has_it(join: Join) -> None:
    routed = [BEGIN, BEGIN + HORIZON]
    join.on_predictions(predictions(*(prediction("a", routed_at=at, scored_at=at) for at in routed)))
    join.on_labels(labels(Label("a", True, BEGIN + HORIZON, 0), Label("a", True, BEGIN + HORIZON + 1, 1)))
    assert join.kinds == {"joined": 2}
    assert {outcome.key.window: outcome.delay.tolist() for outcome in join.take().outcomes} == {
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
    keys = {(o.key.epoch, o.key.digest, o.key.rollout): o.delay.tolist() for o in join.take().outcomes}
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
        return sum(map(len, join.take().outcomes))

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
        assert sum(map(len, output.outcomes)) == 3 * rollout


def test_a_delay_is_never_negative_and_the_entity_is_the_key(join: Join) -> None:
    join.on_predictions(predictions(prediction("a", key=b"entity"), prediction("b", key=b"entity"), prediction("c")))
    join.on_labels(labels(*(Label(name, True, BEGIN - 3, offset) for offset, name in enumerate("abc"))))
    (outcomes,) = join.take().outcomes
    assert outcomes.delay.tolist() == [0, 0, 0]
    assert outcomes.order.tolist() == [order_of("a"), order_of("b"), order_of("c")]
    assert outcomes.entity.tolist() == [entity_of(b"entity"), entity_of(b"entity"), order_of("c")]


def test_assigned_by_request_each_request_is_its_own_entity() -> None:
    join = Join(replace(POLICY, assign_by="request"), NOWHERE, history())
    join.on_predictions(predictions(prediction("a", key=b"entity"), prediction("b", key=b"entity")))
    join.on_labels(labels(*(Label(name, True, BEGIN + 3, offset) for offset, name in enumerate("ab"))))
    (outcomes,) = join.take().outcomes
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
    for turn in range(40):
        at = BEGIN + turn * 5 * REACH
        those = [
            prediction(f"{turn}-{n}", routed_at=at, scored_at=at, model_version=f"v{turn}-{n}") for n in range(100)
        ]
        join.on_predictions(predictions(*those, first=100 * turn))
        join.on_labels(labels(*(Label(p.request_id, True, at, 100 * turn + n) for n, p in enumerate(those))))
        output = join.take()
        assert {outcomes.key.model_version for outcomes in output.outcomes} == {p.model_version for p in those}
        assert {count.model_version for count in output.counts} == {p.model_version for p in those}
        join.on_watermark(at + 4 * REACH)
    assert len(join._cells) <= 1_200  # noqa: SLF001 - its memory


def test_a_flush_is_cut_into_records_of_bounded_size(join: Join) -> None:
    those = range(45_000)
    join.on_predictions(predictions(*(prediction(f"r{number}") for number in those)))
    join.on_labels(labels(*(Label(f"r{number}", True, BEGIN, number) for number in those)))
    records = join.take().records(by="w", written_at=1, partition=3, positions=Positions(5, 6), watermark=7)
    sizes = [sum(map(len, record.outcomes)) for record in records]
    assert sizes == [20_000, 20_000, 5_000]
    assert [record.positions for record in records] == [None, None, Positions(5, 6)]
    assert [record.watermark for record in records] == [None, None, 7]
    assert sum(count.labelled for record in records for count in record.counts) == 45_000
    orders = np.concatenate([outcomes.order for record in records for outcomes in record.outcomes])
    assert sorted(orders.tolist()) == sorted(order_of(f"r{number}") for number in those)


def test_many_small_columns_are_cut_into_records_of_bounded_size(join: Join) -> None:
    those = [prediction(f"r{n}", model_version=f"v{n % 5_000}") for n in range(10_000)]
    join.on_predictions(predictions(*those))
    join.on_labels(labels(*(Label(f"r{n}", True, BEGIN, n) for n in range(10_000))))
    records = join.take().records(by="w", written_at=1, partition=3, positions=Positions(5, 6), watermark=7)
    assert max(len(encode_evidence(record)) for record in records) < 1_000_000
    assert sum(len(outcomes) for record in records for outcomes in record.outcomes) == 10_000


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
