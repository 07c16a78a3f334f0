"""What goes into a block and when it closes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.evidence import POLICY, SECOND, outcome

from stream_router.core.deciding.blocks import Blocks, full_size
from stream_router.core.deciding.entities import Entities
from stream_router.core.deciding.epochs import Epochs
from stream_router.core.deciding.unripe_outcomes import UnripeOutcomes
from stream_router.core.evidence import EpochInForce
from stream_router.core.policy import Policy


def epochs(*shares):
    known = Epochs()
    for number, share in enumerate(shares, 1):
        weights = {"stable": 1 - share, "canary": share}
        known.add(EpochInForce(epoch=number, digest=f"d{number}", rollout=1, weights=weights))
    return known


def sizes(make_blocks, outcomes, a_record=7):
    """At which record blocks of which total close; a record holds up to `a_record` outcomes."""
    blocks = make_blocks(POLICY, epochs(0.25))
    closed = []
    for start in range(0, len(outcomes), a_record):
        for taken in outcomes[start : start + a_record]:
            blocks.add(taken, now=0)
        closed += [(start, block.total) for block in blocks.close()]
    return closed


def drawn(seed, n=200):
    rng = np.random.default_rng(seed)
    return [
        outcome(lane=("stable", "canary")[rng.random() < 0.25], bad=bool(rng.random() < 0.3), entity=i)
        for i in range(n)
    ]


def blind(make_blocks, seed):
    """Whether blocks would close as they do if every outcome and every lane were the other."""
    outcomes = drawn(seed)
    other = [
        o._replace(bad=not o.bad, lane="stable" if o.lane == "canary" else "canary", delay=o.delay + 1)
        for o in outcomes
    ]
    return sizes(make_blocks, outcomes) == sizes(make_blocks, other)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_block_closes_neither_by_lane_nor_by_outcome(seed):
    assert blind(Blocks, seed)


def test_blindness_would_show_a_block_that_closes_at_canarys_tenth_outcome():
    class Chosen(Blocks):
        def _is_full(self, epoch):
            return self._open[epoch].canary_labels >= 10

    assert not all(blind(Chosen, seed) for seed in range(20))


def test_a_block_closes_at_the_end_of_the_record_in_which_its_total_is_reached():
    blocks = Blocks(POLICY, epochs(0.25))
    for number in range(39):
        blocks.add(outcome(entity=number), now=0)
    assert not list(blocks.close())
    for number in range(5):
        blocks.add(outcome(entity=number), now=0)
    (block,) = blocks.close()
    assert block.total == 44
    assert blocks.outcomes == 0


def test_a_full_block_holds_ten_outcomes_of_canary_on_average():
    assert [full_size(share) for share in (1.0, 0.5, 0.3, 0.1, 0.05, 0.01, 1e-6)] == [10, 20, 34, 100, 200, 1000, 10**7]


def test_each_epoch_and_digest_has_its_own_block():
    known = epochs(0.5)
    known.add(EpochInForce(epoch=1, digest="other", rollout=1, weights={"stable": 0.5, "canary": 0.5}))
    blocks = Blocks(POLICY, known)
    for number in range(19):
        blocks.add(outcome(digest="d1"), now=0)
        blocks.add(outcome(digest="other"), now=0)
        assert number < 19
    assert not list(blocks.close())
    assert blocks.outcomes == 38


def test_an_old_block_closes_by_a_watermark_and_only_by_a_watermark():
    blocks = Blocks(POLICY, epochs(0.1))
    blocks.add(outcome(window=5 * SECOND), now=50 * SECOND)
    age = POLICY.block_age
    assert not list(blocks.close(now=50 * SECOND + age - 1))
    assert not list(blocks.close())
    assert [block.total for block in blocks.close(now=50 * SECOND + age)] == [1]


def test_a_block_of_an_ended_epoch_closes_once_all_its_windows_are_older_than_the_horizon():
    known = epochs(0.1)
    blocks = Blocks(POLICY, known)
    blocks.add(outcome(window=0), now=90 * SECOND)
    blocks.expect(outcome(window=20 * SECOND))
    mature = 20 * SECOND + POLICY.window + POLICY.label_horizon
    assert not list(blocks.close(now=mature))
    known.add(EpochInForce(epoch=2, digest="d2", rollout=1, weights={"stable": 1.0, "canary": 0.0}))
    assert not list(blocks.close(now=mature - 1))
    assert len(list(blocks.close(now=mature))) == 1


def test_a_window_ripens_by_the_watermarks_of_its_own_partition_in_the_order_of_the_requests_hashes():
    unripe = UnripeOutcomes(POLICY, ripe_age=20 * SECOND)
    orders = [5, -3, 2**62, -(2**63), 0]
    for partition in (0, 1):
        for order in orders:
            unripe.add(partition, outcome(order=order))
    assert unripe.ripen(0, 30 * SECOND - 1) == []
    assert [o.order for o in unripe.ripen(0, 30 * SECOND)] == sorted(orders)
    assert unripe.ripen(0, 90 * SECOND) == []
    assert len(unripe) == len(orders)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), max_size=200), st.sampled_from([None, 2, 5]))
def test_an_entity_has_one_outcome_a_period_its_first(requests, period):
    entities = Entities(Policy(entity_period=period))
    taken = [(o.window, o.entity) for o in (outcome(entity=e, window=w) for e, w in requests) if entities.admit(o)]
    expected = {}
    for entity, window in requests:
        expected.setdefault((entity, window // period if period else 0), (window, entity))
    assert taken == list(expected.values())
    assert entities.repeats == len(requests) - len(taken)


def test_entities_are_used_up_when_only_known_ones_come():
    entities = Entities(Policy())
    for entity in range(500):
        entities.admit(outcome(entity=entity))
    for number in range(500):
        assert not entities.used_up
        entities.admit(outcome(entity=number % 3))
    assert entities.used_up
    entities.admit(outcome(entity=1_000))
    assert not entities.used_up
