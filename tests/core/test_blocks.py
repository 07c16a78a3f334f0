"""What goes into a block and when it closes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.evidence import POLICY, SECOND, outcome

from stream_router.core.deciding.blocks import Blocks, full_size
from stream_router.core.deciding.entities import Entities
from stream_router.core.deciding.entity_set import EntitySet
from stream_router.core.deciding.epochs import Epochs
from stream_router.core.deciding.rows import Batch, Pool, rows_of
from stream_router.core.evidence import EpochInForce, OutcomeKey, in_columns
from stream_router.core.policy import Policy


def epochs(*shares):
    known = Epochs()
    for number, share in enumerate(shares, 1):
        weights = {"stable": 1 - share, "canary": share}
        known.add(EpochInForce(epoch=number, digest=f"d{number}", rollout=1, weights=weights))
    return known


def add(blocks, taken, now=0):
    (outcomes,) = in_columns([taken])
    blocks.add(outcomes.key, rows_of(outcomes), now)


def admitted(entities, outcomes):
    """Which were the first of their entities; all at once, or one by one."""
    return entities.admit(
        np.array([one.entity for one in outcomes], np.int64),
        np.array([one.window for one in outcomes], np.int64),
        np.array([one.lane == "canary" for one in outcomes], np.bool_),
    ).tolist()


def sizes(make_blocks, outcomes, a_record=7):
    """At which record blocks of which total close; a record holds up to `a_record` outcomes."""
    blocks = make_blocks(POLICY, epochs(0.25))
    closed = []
    for start in range(0, len(outcomes), a_record):
        for taken in outcomes[start : start + a_record]:
            add(blocks, taken, now=0)
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
            return len(self._open[epoch].canary) >= 10

    assert not all(blind(Chosen, seed) for seed in range(20))


def test_a_block_closes_at_the_end_of_the_record_in_which_its_total_is_reached():
    blocks = Blocks(POLICY, epochs(0.25))
    for number in range(39):
        add(blocks, outcome(entity=number), now=0)
    assert not list(blocks.close())
    for number in range(5):
        add(blocks, outcome(entity=number), now=0)
    (block,) = blocks.close()
    assert block.total == 44
    assert blocks.outcomes == 0


def test_a_full_block_holds_ten_outcomes_of_canary_on_average():
    assert [full_size(share) for share in (1.0, 0.5, 0.3, 0.1, 0.05, 0.01, 1e-6)] == [10, 20, 34, 100, 200, 1000, 10**7]


@pytest.mark.parametrize("share", [0.04, 0.01, 0.001])
def test_where_stable_is_thinned_a_block_is_as_large_as_what_enters_says(share):
    """20 of stable for one of canary, whatever canary's share of the requests."""
    blocks = Blocks(POLICY, epochs(share))
    for number in range(209):
        add(blocks, outcome(entity=number))
    assert not list(blocks.close())
    add(blocks, outcome(entity=209))
    assert [block.total for block in blocks.close()] == [210]


def test_each_epoch_and_digest_has_its_own_block():
    known = epochs(0.5)
    known.add(EpochInForce(epoch=1, digest="other", rollout=1, weights={"stable": 0.5, "canary": 0.5}))
    blocks = Blocks(POLICY, known)
    for number in range(19):
        add(blocks, outcome(digest="d1"), now=0)
        add(blocks, outcome(digest="other"), now=0)
        assert number < 19
    assert not list(blocks.close())
    assert blocks.outcomes == 38


def test_an_old_block_closes_by_a_watermark_and_only_by_a_watermark():
    blocks = Blocks(POLICY, epochs(0.1))
    add(blocks, outcome(window=5 * SECOND), now=50 * SECOND)
    age = POLICY.block_age
    assert not list(blocks.close(now=50 * SECOND + age - 1))
    assert not list(blocks.close())
    assert [block.total for block in blocks.close(now=50 * SECOND + age)] == [1]


def test_a_block_of_an_ended_epoch_closes_once_all_its_windows_are_older_than_the_horizon():
    known = epochs(0.1)
    blocks = Blocks(POLICY, known)
    add(blocks, outcome(window=0), now=90 * SECOND)
    blocks.expect(OutcomeKey(*outcome(window=20 * SECOND)[:7]))
    mature = 20 * SECOND + POLICY.window + POLICY.label_horizon
    assert not list(blocks.close(now=mature))
    known.add(EpochInForce(epoch=2, digest="d2", rollout=1, weights={"stable": 1.0, "canary": 0.0}))
    assert not list(blocks.close(now=mature - 1))
    assert len(list(blocks.close(now=mature))) == 1


def test_what_waits_is_taken_by_partition_and_window_in_the_order_in_which_it_came():
    pool = Pool()
    for record in range(5):
        for partition in (0, 1):
            rows = [outcome(window=window, order=10 * record + n) for n in range(3) for window in (0, 10 * SECOND)]
            for outcomes in in_columns(rows):
                pool.add(Batch(partition, outcomes.key, rows_of(outcomes)))
    assert len(pool) == 60
    assert pool.take_until(0, -1) == []
    (batch,) = pool.take_until(0, 10 * SECOND - 1)
    assert (batch.partition, batch.key.window) == (0, 0)
    assert batch.rows["order"].tolist() == [10 * record + n for record in range(5) for n in range(3)]
    assert pool.take_until(0, 10 * SECOND - 1) == []
    assert [(b.partition, b.key.window) for b in pool.take(lambda key: key.window > 0)] == [(0, 10_000), (1, 10_000)]
    assert [(b.partition, b.key.window, len(b.rows)) for b in pool] == [(1, 0, 15)]
    assert len(pool) == 15


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), max_size=60), max_size=8),
    st.sampled_from([None, 2, 5]),
)
def test_an_entity_has_one_outcome_a_period_its_first(records, period):
    entities, taken = Entities(Policy(entity_period=period)), []
    requests = [request for record in records for request in record]
    for record in records:
        outcomes = [outcome(entity=e, window=w) for e, w in record]
        taken += [
            (o.window, o.entity) for o, is_first in zip(outcomes, admitted(entities, outcomes), strict=True) if is_first
        ]
    expected = {}
    for entity, window in requests:
        expected.setdefault((entity, window // period if period else 0), (window, entity))
    assert taken == list(expected.values())
    assert entities.repeats == len(requests) - len(taken)


def test_requests_that_are_assigned_each_by_itself_are_entities_of_their_own():
    entities = Entities(Policy(assign_by="request"))
    assert admitted(entities, [outcome(entity=1)] * 300) == [True] * 300
    assert (entities.repeats, entities.used_up, entities.state()["seen"]) == (0, False, [])


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), max_size=100), max_size=10))
def test_a_set_of_entities_is_a_set(additions):
    entities, model = EntitySet(), set()
    for hashes in additions:
        firsts = entities.add(np.array(hashes, np.int64)).tolist()
        assert firsts == [h not in model and h not in hashes[:n] for n, h in enumerate(hashes)]
        model |= set(hashes)
        assert len(entities) == len(model)
        assert sorted(entities.hashes.tolist()) == sorted(model)


def test_hashes_that_fall_together_are_kept_apart():
    """Also where they are many and the table grows meanwhile."""
    multiples = np.arange(1, 50_001, dtype=np.int64) << 20
    entities = EntitySet()
    assert entities.add(multiples[::2]).all()
    assert entities.add(multiples).tolist() == [False, True] * 25_000


@pytest.mark.parametrize("a_record", [1, 7, 500])
def test_entities_are_used_up_when_only_known_ones_come(a_record):
    entities = Entities(Policy())
    for entity in range(0, 500, a_record):
        admitted(entities, [outcome(entity=entity + n) for n in range(min(a_record, 500 - entity))])
    for number in range(500):
        assert not entities.used_up
        admitted(entities, [outcome(entity=number % 3)])
    assert entities.used_up
    admitted(entities, [outcome(entity=1_000), *[outcome(entity=0)] * 500])
    assert not entities.used_up
    admitted(entities, [outcome(entity=0)])
    assert entities.used_up
