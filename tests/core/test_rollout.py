"""The fold of R.evidence: the same verdict at the same record, from its records in order and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.evidence import POLICY, SECOND, Simulation, flush, in_force, outcome, started

from stream_router.core.deciding.fold import EvidenceFold
from stream_router.core.deciding.numbers import Status
from stream_router.core.evidence import Count, Silence, in_columns
from stream_router.core.routing.applied_split import Versions

seeds = st.integers(0, 2**32 - 1)


def folded(records, fold=None, first=0):
    """The fold and its outputs, record by record."""
    fold = fold or EvidenceFold(POLICY, partitions=2)
    return fold, [brings(fold, offset, record) for offset, record in enumerate(records, first)]


def brings(fold, offset, record):
    """What the record brought, with the windows that it changed."""
    outputs = fold.on_record(offset, record)
    return outputs, fold.windows.take_changed()


def verdicts(brought):
    return [verdict for outputs, _ in brought for verdict in outputs.verdicts]


def blocks(brought):
    return [closed.block for outputs, _ in brought for closed in outputs.blocks]


def test_a_bad_canary_is_called_unhealthy_once_with_its_numbers():
    fold, outputs = folded(Simulation(seed=1).records())
    (verdict,) = verdicts(outputs)
    fed = blocks(outputs)
    numbers = verdict.numbers
    assert verdict.status is Status.UNHEALTHY
    assert verdict == outputs[verdict.offset][0].verdicts[0]
    assert (verdict.rollout, verdict.epoch, verdict.digest) == (1, 1, "d1")
    assert (verdict.stable_version, verdict.canary_version) == ("v1", "v2")
    assert numbers.stable_labels == sum(len(block.stable) for block in fed)
    assert numbers.canary_bad == sum(int(block.canary["bad"].sum()) for block in fed)
    assert numbers.blocks == len(fed)
    assert numbers.e_value == numbers.threshold == 1 / (0.05 * 0.6)
    assert verdict.deciding_label_at == fed[-1].newest_label_at
    accuracies = [
        1 - bad / labels
        for bad, labels in ((numbers.canary_bad, numbers.canary_labels), (numbers.stable_bad, numbers.stable_labels))
    ]
    assert numbers.difference == pytest.approx(accuracies[0] - accuracies[1])
    assert numbers.difference_low < numbers.difference < numbers.difference_high < 0
    for quoted in (
        "canary v2",
        "stable v1",
        f"{accuracies[0]:.3f}",
        f"{numbers.difference:+.3f}",
        "33.33 = 1/(weight · alpha)",
    ):
        assert quoted in verdict.reason
    summary = fold.summary(1)
    assert summary is not None
    assert summary.verdict == summary.verdicts[0] == verdict


def test_an_equal_canary_stays_inconclusive():
    fold, outputs = folded(Simulation(seed=1, error={"stable": 0.1, "canary": 0.1}).records())
    summary = fold.summary(1)
    assert not verdicts(outputs)
    assert summary is not None
    assert summary.verdict.status is Status.INCONCLUSIVE
    assert "not shown to be less accurate" in summary.verdict.reason


@settings(max_examples=12, deadline=None)
@given(seeds, st.floats(0.05, 1.0), st.booleans())
def test_a_replay_from_the_saved_offset_gives_the_same_from_there_on(seed, part, ramp):
    """Whenever a controller moves: from `replay_from` as it was saved, outputs after the move are those of one that
    never moved.
    """
    epochs = ((0, 0.3), (40, 0.5), (60, 0.0), (70, 0.4)) if ramp else ((0, 0.3),)
    calm = {"stable": 0.2, "canary": 0.35}
    earlier = Simulation(seed=seed, seconds=40, rollout=1, error=calm).records()
    later = Simulation(seed=seed + 1, rollout=2, epochs=epochs, error=calm, seconds=120).records()
    assert_can_move(earlier + _later(later), part)


@settings(max_examples=12, deadline=None)
@given(seeds, st.floats(0.05, 1.0))
def test_a_replay_between_rollouts_gives_the_same_windows_from_there_on(seed, part):
    policy = replace(POLICY, label_horizon=30 * SECOND)
    records = Simulation(seed=seed, seconds=250, a_second=5, rollout=0, policy=policy).records()
    assert_can_move(records, part, policy)
    fold, _ = folded(records, EvidenceFold(policy, partitions=2))
    assert fold.replay_from > 0
    assert fold.windows.late == 0


def assert_can_move(records, part, policy=POLICY):
    moved_at = int(part * len(records))
    fold, before = folded(records[:moved_at], EvidenceFold(policy, partitions=2))
    start = moved_at if fold.replay_from is None else fold.replay_from
    successor, _ = folded(records[start:moved_at], EvidenceFold(policy, partitions=2), start)
    _, expected = folded(records[moved_at:], fold, moved_at)
    _, found = folded(records[moved_at:], successor, moved_at)
    assert found == expected
    assert before + expected == folded(records, EvidenceFold(policy, partitions=2))[1]


def _later(records, by=40 * SECOND, epochs=10):
    """The same evidence that much later, under later epochs."""

    def moved(record):
        control = record.epoch_in_force
        return replace(
            record,
            watermark=record.watermark and record.watermark + by,
            outcomes=in_columns(
                row._replace(window=row.window + by, time=row.time + by, epoch=row.epoch + epochs)
                for outcomes in record.outcomes
                for row in outcomes.rows()
            ),
            counts=tuple(replace(count, window=count.window + by) for count in record.counts),
            epoch_in_force=control and replace(control, epoch=control.epoch + epochs),
        )

    return [moved(record) for record in records]


def test_clocks_of_those_who_wrote_change_nothing():
    records = Simulation(seed=3).records()
    assert folded(records)[1] == folded([replace(r, written_at=n * 7919, by=f"w{n}") for n, r in enumerate(records)])[1]


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_the_order_in_which_labels_arrive_before_a_window_is_ripe_changes_no_bet(seed):
    rng = np.random.default_rng(seed)
    arrived = [
        outcome(
            lane=("stable", "canary")[rng.random() < 0.4],
            entity=int(rng.integers(30)),
            order=order,
            bad=bool(rng.random() < 0.4),
        )
        for order in rng.permutation(100).tolist()
    ]

    def bets(outcomes):
        records = [started(), in_force(canary=0.4)]
        records += [flush(0, *outcomes[n : n + 10], watermark=n * 100) for n in range(0, 100, 10)]
        return blocks(folded([*records, flush(0, watermark=31 * SECOND), flush(0, watermark=10**9)])[1])

    expected = bets(arrived)
    assert expected
    assert bets([arrived[i] for i in rng.permutation(100)]) == expected


def test_outcomes_wait_for_their_control_records_in_whatever_order_these_come():
    outcomes = [outcome(entity=n, order=n, lane="stable" if n % 3 else "canary", bad=n % 7 == 0) for n in range(90)]
    evidence = [flush(0, *outcomes, watermark=SECOND)]
    end = [flush(0, watermark=40 * SECOND), flush(0, watermark=10**9)]
    controls = [started(), in_force(canary=0.3)]
    expected = blocks(folded(controls + evidence + end)[1])
    assert sum(block.total for block in expected) == 90
    assert blocks(folded(evidence + controls[::-1] + end)[1]) == expected
    assert blocks(folded([controls[0], *evidence, controls[1], *end])[1]) == expected
    late = blocks(folded([*evidence, end[0], *controls, end[1]])[1])
    assert [(b.stable.tobytes(), b.canary.tobytes()) for b in late] == [
        (b.stable.tobytes(), b.canary.tobytes()) for b in expected
    ]


def test_the_second_start_record_of_a_rollout_changes_nothing():
    records = Simulation(seed=5).records()
    again = [*records[:30], started(ripe_age=0, versions=Versions("x", "y")), *records[30:]]
    assert blocks(folded(again)[1]) == blocks(folded(records)[1])


def test_an_epoch_without_a_share_for_a_lane_feeds_neither_blocks_nor_entities():
    same = [outcome(entity=n, order=n, epoch=1) for n in range(40)]
    fold, outputs = folded(
        [started(), in_force(1, 0.0), flush(0, *same, watermark=40 * SECOND), flush(0, watermark=10**9)]
    )
    assert not blocks(outputs)
    assert fold.summary(1).ignored.one_sided == 40
    with_share = [o._replace(epoch=2, digest="d2", window=10 * SECOND) for o in same]
    _, outputs = folded([in_force(2, 0.5), flush(0, *with_share, watermark=10**10)], fold, 4)
    assert sum(len(block.canary) for block in blocks(outputs)) == 40


@pytest.mark.parametrize(
    "foreign", [{"model_version": "v3"}, {"lane": "stable", "model_version": "v2"}, {"lane": "shadow"}]
)
def test_outcomes_that_are_not_the_rollouts_are_counted_and_left_out(foreign):
    fold, outputs = folded(
        [started(), in_force(), flush(0, outcome(**foreign), watermark=10**9), flush(0, watermark=10**10)]
    )
    assert not blocks(outputs)
    assert fold.summary(1).ignored.not_ours == 1


def test_an_unbound_lane_takes_any_version():
    records = [started(versions=Versions()), in_force(), flush(0, outcome(model_version="v9"), watermark=40 * SECOND)]
    assert folded(records)[0].summary(1).in_open_blocks == 1


def test_unhealthy_takes_nothing_more():
    records = Simulation(seed=1, seconds=200).records()
    _, outputs = folded(records)
    (verdict,) = verdicts(outputs)
    assert not blocks(outputs[verdict.offset + 1 :])


def test_a_rollout_ends_when_a_later_one_is_in_force():
    fold, _ = folded([started(1), in_force(1, rollout=1), flush(0, outcome(rollout=2))])
    assert fold.unstarted == (2,)
    assert fold.summary(1) is not None
    folded([in_force(2, rollout=2)], fold, 3)
    assert fold.summary(1) is None
    assert fold.is_started(1)
    assert not fold.is_started(2)
    assert fold.first_offset(2) == 2
    assert fold.replay_from == 2


def test_rollout_zero_is_none():
    fold, _ = folded(
        [flush(0, outcome(rollout=0), silences=(Silence("canary", 0, 0, 1),)), in_force(1, 0.0, rollout=0)]
    )
    assert fold.unstarted == ()
    assert fold.replay_from is None
    assert fold.is_known(1, "d1")


def test_the_replay_begins_at_the_oldest_window_that_can_still_change():
    def count(window, watermark):
        return flush(
            0,
            counts=[Count(window=window, rollout=0, lane="stable", model_version="v1", predicted=1)],
            watermark=watermark,
        )

    fold = EvidenceFold(POLICY, partitions=1)
    folded([count(0, 10 * SECOND), count(500 * SECOND, 510 * SECOND)], fold)
    assert fold.replay_from == 1


def test_canary_without_new_entities_says_so():
    few = [outcome(entity=n % 7, order=n) for n in range(300)]
    fold, _ = folded([started(), in_force(), flush(0, *few, watermark=10**6)])
    summary = fold.summary(1)
    assert summary.entities_used_up
    assert summary.repeats == 293
    assert "each user or key in canary's share has been counted" in summary.verdict.reason


def test_the_labels_that_a_policy_allows_can_run_out_and_the_test_goes_on():
    policy = replace(POLICY, max_labels=20)
    equal = {"stable": 0.1, "canary": 0.1}
    kinds = ("accuracy", "error")
    records = Simulation(seed=1, policy=policy, error=equal, seconds=100, kinds=kinds).records()
    fold, _ = folded(records)
    summary = fold.summary(1)
    assert summary.max_labels_reached
    assert "no decision within 20 canary labels" in summary.verdict.reason
    without_labels, _ = folded(Simulation(seed=1, policy=policy, seconds=100, kinds=("error",)).records())
    assert not without_labels.summary(1).max_labels_reached, "one guardrail has not been asked"


@pytest.mark.parametrize(("ripe_age", "least", "most"), [(60 * SECOND, 0, 1), (0, 6, 8)])
def test_errors_that_are_labelled_earlier_in_canary_count_against_it_only_if_bet_on_unripe(ripe_age, least, most):
    """Equal accuracy; as joined, nearly every such rollout would be rolled back."""
    early = {("stable", True): 15.0, ("canary", True): 1.0, ("stable", False): 5.0, ("canary", False): 5.0}
    equal = {"stable": 0.3, "canary": 0.3}
    unhealthy = 0
    for seed in range(8):
        simulation = Simulation(seed=seed, error=equal, delays=early, ripe_age=ripe_age, a_second=40, partitions=1)
        _, outputs = folded(simulation.records(), EvidenceFold(POLICY, partitions=1))
        unhealthy += len(verdicts(outputs))
    assert least <= unhealthy <= most


def test_a_late_outcome_enters_at_once_and_only_by_its_own_partitions_watermarks():
    fold, _ = folded([started(), in_force(), flush(0, watermark=40 * SECOND), flush(0, outcome(entity=1))])
    assert (fold.summary(1).in_open_blocks, fold.summary(1).unripe) == (1, 0)
    folded([flush(1, outcome(entity=2))], fold, 4)
    assert (fold.summary(1).in_open_blocks, fold.summary(1).unripe) == (1, 1)
    folded([flush(1, watermark=40 * SECOND)], fold, 5)
    assert (fold.summary(1).in_open_blocks, fold.summary(1).unripe) == (2, 0)


def test_watermarks_from_before_a_rollout_ripen_nothing_of_it():
    """A successor that replays from the rollout's first record does not know them."""
    records = [flush(0, watermark=40 * SECOND), started(), in_force(), flush(0, outcome())]
    fold, _ = folded(records)
    successor, _ = folded(records[fold.replay_from :], first=fold.replay_from)
    assert fold.replay_from == 1
    assert fold.summary(1) == successor.summary(1)
    assert fold.summary(1).unripe == 1


@pytest.mark.parametrize("arrival", [1, -1])
def test_outcomes_that_waited_too_long_are_taken_in_the_order_of_the_requests_hashes(arrival):
    """Of an entity's two outcomes the one with the lower hash counts, whichever label came first."""
    pair = [outcome(order=1, bad=False), outcome(order=2, bad=True)][::arrival]
    records = [started(), flush(0, *pair, watermark=40 * SECOND), in_force(), flush(0, watermark=10**6)]
    (block,) = blocks(folded(records)[1])
    assert block.canary["bad"].tolist() == [False]


def test_a_window_stays_until_every_partition_is_past_it():
    count = Count(window=0, rollout=0, lane="stable", model_version="v1", predicted=1)
    fold, _ = folded([flush(0, counts=[count], watermark=SECOND), flush(1, watermark=10**9)])
    assert len(list(fold.windows)) == 1
    folded([flush(0, watermark=10**9)], fold, 2)
    assert not list(fold.windows)


def test_the_clock_is_the_newest_watermark_and_never_falls():
    fold, _ = folded([flush(0, watermark=5 * SECOND), flush(1, watermark=3 * SECOND), flush(0, watermark=2 * SECOND)])
    assert fold.clock == 5 * SECOND
