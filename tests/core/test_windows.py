"""The window fold equals a batch recount."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_router.adapters.arrays import pack, unpack
from stream_router.core.deciding.last_known import MAX_VERSIONS, LabelledWindow, LastKnown
from stream_router.core.deciding.window_sums import Sums
from stream_router.core.deciding.windows import WindowKey, Windows
from stream_router.core.evidence import Count
from stream_router.core.histogram import bucket_of, lower_bound
from stream_router.core.policy import CLOCK_SKEW_MS, REMEMBERED_LABELS, Policy

POLICY = Policy(window=100, label_horizon=1_000, prediction_deadline=50)
OF = {"rollout": 1, "lane": "canary", "model_version": "v1"}


def upper_end(values, q):
    """The exact quantile's bucket, as numpy computes the quantile."""
    if not len(values):
        return None
    return lower_bound(bucket_of(int(np.quantile(values, q, method="inverted_cdf"))) + 1) - 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_equals_a_recount_with_numpy_whatever_the_order_of_deltas(seed, n):
    rng = np.random.default_rng(seed)
    window = rng.integers(0, 3, n) * 100
    lane = rng.choice(["stable", "canary"], n)
    failed, labelled = rng.random(n) < 0.2, rng.random(n) < 0.7
    first, last = rng.random(n) < 0.8, rng.random(n) < 0.8
    revised = labelled & (first != last)
    late = rng.random(n) < 0.1
    delay, latency, model_latency = rng.integers(0, 5_000, n), rng.integers(0, 300, n), rng.integers(0, 90, n)
    deltas = []
    for i in range(n):
        of = {"window": int(window[i]), "rollout": 1, "lane": str(lane[i]), "model_version": "v1"}
        found = {"latencies": {bucket_of(int(latency[i])): 1}, "model_latencies": {bucket_of(int(model_latency[i])): 1}}
        deltas.append(Count(**of, predicted=1, errors=int(failed[i]), late=int(late[i]), **found))
        if labelled[i]:
            deltas.append(Count(**of, labelled=1, correct=int(first[i]), delays={bucket_of(int(delay[i])): 1}))
        if revised[i]:
            deltas.append(Count(**of, revised=1, correct=int(last[i]) - int(first[i])))
    windows = Windows(POLICY)
    for offset, at in enumerate(rng.permutation(len(deltas))):
        windows.add(offset, [deltas[at]])
    found = {(w.window_start, w.lane): w for w in windows}
    assert found.keys() == set(zip(window.tolist(), lane.tolist(), strict=True))
    for (start, of_lane), one in found.items():
        here = (window == start) & (lane == of_lane)
        joined = here & labelled
        correct = int(last[joined].sum())
        assert (one.window_end, one.predicted, one.errors) == (start + 100, here.sum(), failed[here].sum())
        assert (one.late, one.error_rate) == (late[here].sum(), failed[here].sum() / here.sum())
        assert (one.labelled, one.correct, one.revised) == (joined.sum(), correct, revised[here].sum())
        assert one.coverage == joined.sum() / here.sum()
        assert one.accuracy == (correct / joined.sum() if joined.any() else None)
        assert (one.label_delay_p50, one.label_delay_p98) == tuple(upper_end(delay[joined], q) for q in (0.5, 0.98))
        assert (one.latency_p50, one.latency_p99) == tuple(upper_end(latency[here], q) for q in (0.5, 0.99))
        assert (one.model_latency_p50, one.model_latency_p99) == tuple(
            upper_end(model_latency[here], q) for q in (0.5, 0.99)
        )


def test_a_changed_window_is_taken_once_in_its_newest_state():
    windows = Windows(POLICY)
    windows.add(7, [Count(window=w, **OF, predicted=1) for w in (100, 0, 100)])
    windows.add(8, [Count(window=100, **OF, predicted=3)])
    taken = windows.take_changed()
    assert [window.key for window in taken] == [WindowKey(100, 1, "canary", "v1"), WindowKey(0, 1, "canary", "v1")]
    assert [window.predicted for window in taken] == [5, 1]
    assert windows.take_changed() == ()
    assert windows.first_offset == 7
    windows.add(9, [Count(window=100, **OF, predicted=1)])
    windows.drop_changed()
    assert windows.take_changed() == ()


def test_what_changed_before_it_was_forgotten_can_still_be_taken():
    windows = Windows(POLICY)
    windows.add(7, [Count(window=0, **OF, predicted=2)])
    windows.forget(10**9)
    (last,) = windows.take_changed()
    assert (last.window_start, last.predicted) == (0, 2)
    assert not list(windows)


def test_a_window_that_can_no_longer_change_is_forgotten_and_never_published_in_part():
    windows = Windows(POLICY)
    windows.add(3, [Count(window=0, **OF, predicted=5)])
    windows.add(4, [Count(window=100, **OF, predicted=5)])
    over = 100 + (100 + 1_000 + 50) + 50 + CLOCK_SKEW_MS
    windows.forget(over - 1)
    assert windows.first_offset == 3
    windows.forget(over)
    assert windows.first_offset == 4
    windows.drop_changed()
    windows.add(5, [Count(window=0, **OF, predicted=1)])
    assert windows.take_changed() == ()
    assert windows.late == 1
    assert Counter(w.window_start for w in windows) == {100: 1}


counts_anywhere = st.builds(
    Count,
    window=st.integers(0, 60).map(lambda number: number * 100),
    rollout=st.integers(0, 2),
    lane=st.sampled_from(["stable", "canary"]),
    model_version=st.sampled_from(["v1", "v2"]),
    predicted=st.integers(0, 5),
    labelled=st.integers(0, 3),
    correct=st.just(0),
)


@given(
    st.lists(counts_anywhere, min_size=10, max_size=60),
    st.integers(CLOCK_SKEW_MS, CLOCK_SKEW_MS + 8_000),
    st.integers(0, 7_000),
    st.sampled_from([None, "v1"]),
    st.booleans(),
)
def test_windows_are_found_newest_first_as_a_scan_of_all_finds_them(counts, watermark, ended_by, version, by_snapshot):
    """Forgetting takes nothing away from what is known of labels, and a snapshot nothing at all."""
    windows, everything = Windows(POLICY), Windows(POLICY)
    for one in (windows, everything):
        one.add(0, counts)
        one.drop_changed()
    windows.forget(watermark)
    if by_snapshot:
        windows = Windows.restored(POLICY, unpack(pack(windows.state())))

    def scan(source, lane, rollout):
        found = [w for w in source if w.lane == lane and version in (None, w.model_version)]
        found = [w for w in found if rollout in (None, w.rollout) and w.window_end <= ended_by]
        return sorted(found, key=lambda w: w.key, reverse=True)

    for rollout in (0, 1, 2):
        listed = [(key, t.predicted) for key, t in windows.of(rollout, "canary", version, ended_by)]
        assert listed == [(w.key, w.predicted) for w in scan(windows, "canary", rollout)]
    for rollout in (None, 1):
        listed = list(windows.labelled("stable", version, ended_by, rollout=rollout))
        expected = [w for w in scan(everything, "stable", rollout) if w.labelled]
        assert [one.window for one in listed] == [w.window_start for w in expected]
        assert Counter(listed) == Counter(
            LabelledWindow(w.window_start, w.rollout, w.labelled, w.correct) for w in expected
        )


@given(st.lists(st.sampled_from([1, 1_000, 2_000, 3_000]), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_as_many_of_the_newest_windows_are_remembered_as_have_the_labels(labels, random):
    """In whatever order the windows are forgotten."""
    windows = [LabelledWindow(number * 100, 1, labelled, 0) for number, labelled in enumerate(labels)]
    for order in (windows, random.sample(windows, len(windows))):
        last_known = LastKnown()
        for window in order:
            last_known.add(window, "stable", "v1")
        kept = list(last_known.newest_first("stable", None))
        assert kept == windows[::-1][: len(kept)]
        total = sum(one.labelled for one in kept)
        assert len(kept) == len(windows) or total >= REMEMBERED_LABELS
        assert total - kept[-1].labelled < REMEMBERED_LABELS


def test_the_versions_heard_of_last_are_remembered():
    last_known = LastKnown()
    for number in range(MAX_VERSIONS + 3):
        last_known.add(LabelledWindow(number, 1, 1, 1), "canary", f"v{number}")
    last_known.add(LabelledWindow(0, 1, 1, 1), "stable", "v0")
    assert [one.window for one in last_known.newest_first("canary", None)] == list(range(MAX_VERSIONS + 2, 2, -1))
    assert list(last_known.newest_first("canary", "v0")) == []
    assert [one.window for one in last_known.newest_first("stable", "v0")] == [0]


WINDOW = 10
ADDED = st.lists(
    st.builds(
        Count,
        window=st.integers(0, 2_000).map(lambda n: n * WINDOW),
        rollout=st.just(1),
        lane=st.just("canary"),
        model_version=st.sampled_from(["v1", "v2"]),
        predicted=st.integers(0, 9),
        errors=st.integers(0, 9),
        late=st.integers(0, 9),
        labelled=st.integers(0, 2),
        correct=st.integers(-2, 2),
    ),
    max_size=30,
)


@given(ADDED, st.integers(0, 20_000), st.integers(0, 25_000), st.sampled_from([None, "v1", "v2"]), st.booleans())
def test_sums_are_those_of_the_windows_that_are_kept(added, until, watermark, version, moves):
    """Also after some were forgotten, and after a move."""
    policy = Policy(window=WINDOW, label_horizon=100, prediction_deadline=10)
    windows = Windows(policy)
    for offset, count in enumerate(added):
        windows.add(offset, [count])
    windows.forget(watermark + policy.kept_for)
    if moves:
        windows.drop_changed()
        windows = Windows.restored(policy, windows.state())
    kept = [(key.window, tally) for key, tally in windows.tallies() if version in (None, key.model_version)]
    for bound, within in ((None, kept), (until, [found for found in kept if found[0] <= until])):
        found = windows.sums(1, "canary", version, bound)
        assert found == Sums(*(sum(getattr(tally, name) for _, tally in within) for name in Sums._fields))
    labelled = sorted((found for found in kept if found[1].labelled), key=lambda found: -found[0])
    walked = list(windows.with_labels(1, "canary", version))
    assert Counter(map(id, walked)) == Counter(id(tally) for _, tally in labelled)
    starts = {id(tally): start for start, tally in kept}
    assert [starts[id(tally)] for tally in walked] == [start for start, _ in labelled]
