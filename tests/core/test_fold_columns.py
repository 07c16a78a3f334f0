"""The fold in columns gives the verdicts of one that takes outcome after outcome; and a snapshot of it is invisible."""

import io
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.evidence import KINDS, POLICY, SECOND, Simulation, flush, in_force, outcome, started
from support.row_fold import RowFold

from stream_router.adapters.arrays import pack, unpack
from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.deciding.numbers import Status
from stream_router.core.evidence import Count, Silence
from stream_router.core.policy import CLOCK_SKEW_MS, METRICS
from stream_router.errors import DecodeError

seeds = st.integers(0, 2**32 - 1)
CALM = {"stable": 0.2, "canary": 0.35}
EPOCHS = [((0, 0.3),), ((0, 0.3), (40, 0.5), (60, 0.0), (70, 0.4)), ((0, 0.05), (20, 0.9)), ((0, 0.01),)]


@st.composite
def histories(draw):
    """Evidence of all kinds whose control records may come late, with repeated entities, foreign versions, a short
    period, and metrics that are off.
    """
    off = draw(st.sets(st.sampled_from([metric.name for metric in METRICS]), max_size=6))
    policy = replace(
        POLICY,
        entity_period=draw(st.sampled_from([None, 20 * SECOND])),
        block_time=30 * SECOND,
        metrics=tuple(replace(metric, role="off") if metric.name in off else metric for metric in METRICS),
    )
    simulation = Simulation(
        seed=draw(seeds),
        seconds=draw(st.sampled_from([60, 130])),
        a_second=10,
        error=draw(st.sampled_from([CALM, {"stable": 0.1, "canary": 0.6}])),
        epochs=draw(st.sampled_from(EPOCHS)),
        ripe_age=draw(st.sampled_from([0, 20 * SECOND])),
        policy=policy,
        kinds=KINDS,
        fails={"stable": 0.02, "canary": draw(st.sampled_from([0.02, 0.5]))},
        slowness={"stable": 1.0, "canary": draw(st.sampled_from([1.0, 3.0]))},
    )
    start, *records = simulation.records()
    for number in [number for number, record in enumerate(records) if record.epoch_in_force]:
        late = draw(st.sampled_from([0, 0, 3, 60, 220]))
        records.insert(min(number + late, len(records) - 1), records.pop(number))
    return [start, *map(_foreign, records)]


def _foreign(record):
    """Each tenth column is of another version."""
    outcomes = tuple(
        replace(one, key=one.key._replace(model_version="v9")) if int(one.order[0]) % 10 == 0 else one
        for one in record.outcomes
    )
    return replace(record, outcomes=outcomes)


@settings(max_examples=20, deadline=None)
@given(histories())
def test_bets_and_verdicts_are_those_of_a_fold_row_by_row(records):
    fold, rows, bets, verdicts = EvidenceFold(POLICY, 2), RowFold(), [], []
    for offset, record in enumerate(records):
        outputs = fold.on_record(offset, record)
        bets += [(offset, closed.block, closed.e_values) for closed in outputs.blocks]
        verdicts += outputs.verdicts
        rows.on_record(offset, record)
        left_out = fold.summary(1).left_out
        if rows.decided_at is None:
            assert {reason: count for reason, count in left_out.items() if count} == +rows.left_out
    assert bets == rows.bets
    assert {verdict.metric: verdict.offset for verdict in verdicts} == rows.fallen
    assert [verdict.offset for verdict in fold.decided] == [at for at in [rows.decided_at] if at is not None]


@settings(max_examples=6, deadline=None)
@given(seeds, st.sampled_from(EPOCHS[:3]), st.floats(0, 1))
def test_what_is_proven_healthy_is_so_at_the_record_of_a_fold_row_by_row(seed, epochs, move):
    """On mature windows, also after a move."""
    metrics = tuple(replace(metric, margin=0.25) for metric in METRICS)
    policy = replace(POLICY, label_horizon=30 * SECOND, metrics=metrics)
    simulation = Simulation(
        seed=seed, a_second=25, error={"stable": 0.1, "canary": 0.1}, epochs=epochs, policy=policy, kinds=KINDS
    )
    records = simulation.records()
    fold, rows, healthy = EvidenceFold(policy, 2), RowFold(), {}
    for offset, record in enumerate(records):
        if offset == int(move * len(records)):
            fold = EvidenceFold.restored(policy, 2, unpack(pack(fold.snapshot())))
        fold.on_record(offset, record)
        fold.windows.drop_changed()
        rows.on_record(offset, record)
        for verdict in fold.summary(1).verdicts:
            if verdict.status is Status.HEALTHY:
                healthy.setdefault(verdict.metric, offset)
    assert healthy == rows.healthy
    assert "error_rate" in healthy


@settings(max_examples=20, deadline=None)
@given(histories(), st.lists(st.floats(0, 1), max_size=4))
def test_a_move_through_a_snapshot_changes_nothing(records, moves):
    """At any record, again and again, through the bytes that are written: windows, bets and verdicts bit for bit."""
    fold, moving = EvidenceFold(POLICY, 2), EvidenceFold(POLICY, 2)
    at = {int(move * len(records)) for move in moves}
    for offset, record in enumerate(records):
        if offset in at:
            moving = EvidenceFold.restored(POLICY, 2, unpack(pack(moving.snapshot())))
        assert moving.on_record(offset, record) == fold.on_record(offset, record)
        assert moving.windows.take_changed() == fold.windows.take_changed()
        assert moving.summary(1) == fold.summary(1)
        assert (moving.replay_from, moving.ripe_age, moving.clock) == (fold.replay_from, fold.ripe_age, fold.clock)
        assert moving.first_offset(1) == fold.first_offset(1)
    assert list(moving.windows) == list(fold.windows)


def test_a_snapshot_does_not_change_with_the_fold_it_was_made_of():
    records = Simulation(seed=1, error=CALM).records()
    fold = EvidenceFold(POLICY, 2)
    for offset, record in enumerate(records[:100]):
        fold.on_record(offset, record)
        fold.windows.drop_changed()
    state = fold.snapshot()
    before = pack(state)
    for offset, record in enumerate(records[100:], 100):
        fold.on_record(offset, record)
    assert pack(state) == before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"window": 1}, "another policy"),
        ({"label_horizon": 1}, "another policy"),
        ({"prediction_deadline": 1}, "another policy"),
    ],
)
def test_a_snapshot_by_another_policy_is_refused(change, why):
    with pytest.raises(ValueError, match=why):
        EvidenceFold.restored(replace(POLICY, **change), 2, EvidenceFold(POLICY, 2).snapshot())


def test_settings_of_rollouts_to_come_do_not_make_a_snapshot_useless():
    state = EvidenceFold(POLICY, 2).snapshot()
    assert EvidenceFold.restored(replace(POLICY, alpha=0.01, max_labels=5, entity_period=7), 3, state)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_damaged_bytes_are_refused_and_never_executed(data):
    body = bytearray(pack(EvidenceFold(POLICY, 2).snapshot()))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    with suppress(DecodeError, ValueError):
        EvidenceFold.restored(POLICY, 2, unpack(bytes(body)))
    with pytest.raises(DecodeError):
        unpack(bytes(body[: at // 2]))
    with pytest.raises(DecodeError):
        unpack(pickled())


def test_no_single_damaged_byte_of_an_archive_is_more_than_an_error_of_ours():
    """Also one that makes a member encrypted, or compressed in a way that nobody knows."""
    body = pack({"plain": 1, "array": np.arange(3)})
    for at in range(len(body)):
        for bit in range(8):
            damaged = bytearray(body)
            damaged[at] ^= 1 << bit
            with suppress(DecodeError):
                unpack(bytes(damaged))


def pickled() -> bytes:
    """An archive with an array of objects."""
    body = io.BytesIO()
    np.savez(body, plain=np.array([{}], object), allow_pickle=True)
    return body.getvalue()


RIPE = 10 * SECOND + 20 * SECOND


def folded(*records, fold=None, first=0):
    fold = fold or EvidenceFold(POLICY, 1)
    for offset, record in enumerate(records, first):
        fold.on_record(offset, record)
    return fold


def test_outcomes_of_a_split_of_which_no_record_comes_are_given_up_and_counted():
    foreign = [outcome(entity=n, order=n, epoch=9, digest="foreign") for n in range(5)]
    fold = folded(started(), in_force(), flush(0, *foreign), flush(0, watermark=RIPE + CLOCK_SKEW_MS - 1))
    assert (fold.summary(1).waiting, fold.summary(1).ignored.unattributed) == (5, 0)
    folded(flush(1, watermark=10**9), fold=fold, first=4)
    assert fold.summary(1).waiting == 5, "the other partition's watermarks say nothing of these"
    folded(flush(0, watermark=RIPE + CLOCK_SKEW_MS), fold=fold, first=5)
    assert (fold.summary(1).waiting, fold.summary(1).ignored.unattributed) == (0, 5)


def test_what_comes_late_of_a_window_that_was_given_up_is_given_up_too():
    """Else only outcomes whose labels are slow would count."""
    late = {"epoch": 2, "digest": "d2"}
    fold = folded(
        started(), in_force(), flush(0, outcome(**late, entity=1)), flush(0, watermark=RIPE + CLOCK_SKEW_MS),
        in_force(2, 0.5), flush(0, outcome(**late, entity=2)), flush(0, outcome(**late, entity=3, window=10 * SECOND)),
    )  # fmt: skip
    assert fold.summary(1).ignored.unattributed == 2
    assert fold.summary(1).in_open_blocks == 1


def test_outcomes_of_a_rollout_that_nobody_starts_are_given_up_once_they_are_older_than_the_horizon():
    """And they pin no evidence."""
    fold = folded(flush(0, outcome(rollout=999)), flush(0, watermark=POLICY.matures_after + CLOCK_SKEW_MS - 1))
    assert (fold.never_started, fold.replay_from) == (0, 0)
    folded(flush(0, watermark=POLICY.matures_after + CLOCK_SKEW_MS), fold=fold, first=2)
    assert (fold.never_started, fold.replay_from, fold.unstarted) == (1, None, ())


HORIZON = POLICY.matures_after + CLOCK_SKEW_MS


def test_counts_and_silences_alone_are_no_evidence_of_a_rollout():
    """Of one that no split knows they would pin the replay until a later one is in force."""
    count = Count(window=0, rollout=999, lane="canary", model_version="v2", predicted=1)
    silence = Silence(lane="canary", rollout=999, oldest_routed_at=0, unanswered=1)
    fold = folded(flush(0, counts=[count], silences=(silence,)))
    assert (fold.first_offset(999), fold.unstarted) == (None, ())
    folded(flush(0, watermark=10**9), fold=fold, first=1)
    assert fold.replay_from is None


@pytest.mark.parametrize(
    ("record", "since"),
    [
        (in_force(rollout=999), SECOND),
        (replace(flush(0, outcome(rollout=999)), partition=None), 0),
        (
            replace(
                flush(0, outcome(rollout=999)), outcomes=(flush(0, outcome(rollout=999)).outcomes[0].part(slice(0)),)
            ),
            0,
        ),
    ],
    ids=["split", "of no partition", "empty"],
)
def test_a_rollout_without_a_start_record_of_which_nothing_waits_is_dropped_after_the_horizon(record, since):
    """After the horizon by its first watermark, or by the window of its outcomes."""
    fold = folded(record, flush(0, watermark=SECOND), flush(0, watermark=since + HORIZON - 1))
    assert (fold.replay_from, fold.unstarted) == (0, (999,))
    folded(flush(0, watermark=since + HORIZON), fold=fold, first=3)
    assert (fold.replay_from, fold.unstarted) == (None, ())
    assert not fold.is_known(1, "d1"), "the controller may say it again, with a start record"


def test_what_was_given_up_is_remembered_only_while_more_of_it_may_come():
    """Splits of which no record comes may be many."""
    fold = folded(started(), in_force())
    for number in range(50):
        late = outcome(epoch=9, digest=f"foreign{number}", window=number * 10 * SECOND)
        folded(flush(0, late), flush(0, watermark=late.window + RIPE + CLOCK_SKEW_MS), fold=fold, first=2 + 2 * number)
    (state,) = fold.snapshot()["rollouts"]
    assert [window for *_, window in state["given_up"]] == [
        number * 10 * SECOND
        for number in range(50)
        if number * 10 * SECOND + POLICY.kept_for > 490 * SECOND + RIPE + CLOCK_SKEW_MS
    ]
    assert fold.summary(1).ignored.unattributed == 50


def test_a_decided_rollout_pins_nothing_and_its_numbers_stay():
    fold = folded(*Simulation(seed=1).records(), fold=EvidenceFold(replace(POLICY, label_horizon=1), 2))
    numbers = fold.summary(1).verdict.numbers
    assert fold.first_offset(1) == 0
    folded(flush(0, watermark=10**9), flush(1, watermark=10**9), fold=fold, first=1_000)
    assert fold.replay_from is None
    fold.end(1)
    assert fold.summary(1).verdict.numbers == numbers
    assert fold.is_started(1)


def test_a_rollout_that_is_over_is_not_judged_and_pins_nothing():
    records = Simulation(seed=1).records()
    fold = folded(*records[:50], fold=EvidenceFold(POLICY, 2))
    fold.end(1)
    verdicts = [verdict for n, record in enumerate(records[50:], 50) for verdict in fold.on_record(n, record).verdicts]
    assert verdicts == []
    assert (fold.summary(1), fold.first_offset(1), fold.unstarted) == (None, None, ())


@pytest.mark.parametrize("ahead", [CLOCK_SKEW_MS, CLOCK_SKEW_MS + 1])
def test_a_watermark_further_ahead_of_the_broker_than_clocks_may_differ_is_as_if_it_were_not_there(ahead):
    now = 5 * SECOND
    fold = folded(started(), in_force(), flush(0, outcome()), flush(0, watermark=now + ahead, appended_at=now))
    is_refused = ahead > CLOCK_SKEW_MS
    assert fold.refused_watermarks == is_refused
    assert fold.clock == (None if is_refused else now + ahead)
    assert fold.summary(1).unripe == is_refused


def test_a_monitor_that_was_30_days_ahead_for_10_seconds_changes_nothing_afterwards():
    """All is as if it had told no time for those."""
    month = 30 * 24 * 3_600 * SECOND
    records = [replace(r, appended_at=1_000_000) for r in Simulation(seed=1, error=CALM).records()]
    ahead, without = ([*records] for _ in range(2))
    for at in range(42, 62):
        ahead[at] = replace(records[at], watermark=records[at].watermark + month)
        without[at] = replace(records[at], watermark=None)

    def brought(all_records):
        fold = EvidenceFold(POLICY, 2)
        return fold, [(fold.on_record(n, record), fold.windows.take_changed()) for n, record in enumerate(all_records)]

    (found, brought_ahead), (expected, brought_without) = brought(ahead), brought(without)
    assert brought_ahead == brought_without
    assert found.summary(1) == expected.summary(1)
    assert found.summary(1).verdict.numbers.blocks > 5
    assert found.refused_watermarks == 20


def test_a_start_record_of_before_says_what_a_fold_has_read():
    begin = started()
    fold = folded(replace(begin, rollout_started=replace(begin.rollout_started, first_offset=7)), first=9)
    assert fold.has_all_of(1, 7)
    assert not fold.has_all_of(1, 8)
    assert not fold.has_all_of(2, 0)
