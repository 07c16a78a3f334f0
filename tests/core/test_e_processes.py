"""Many e-processes at once: each is what it is alone, however many are fed together and wherever they are kept."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_router.core.deciding import e_processes
from stream_router.core.deciding.e_process import EProcess
from stream_router.core.deciding.e_processes import EProcesses

TESTS = 4
EXACTLY = 1e-9

sizes = st.one_of(st.integers(0, 12), st.integers(0, 400))
blocks = st.tuples(sizes, sizes).flatmap(
    lambda n: st.tuples(st.just(n[0]), st.just(n[1]), st.integers(0, n[0]), st.integers(0, n[1]))
)
feeds = st.lists(st.dictionaries(st.integers(0, TESTS - 1), blocks), max_size=8)
kinds = st.fixed_dictionaries(
    {"alpha": st.sampled_from([0.3, 0.05, 0.01]), "psi0": st.sampled_from([1.0, 1.5]), "max_labels": st.just(200)}
)


def columns(feed):
    """The tests that are fed, and their blocks in arrays."""
    return list(np.array(list(feed.values()), np.int64).reshape(-1, 4).T), np.array(list(feed), np.int64)


def assert_alike(together: EProcesses, alone: list[EProcess]) -> None:
    state, states = together.state, [test.state for test in alone]
    assert state.unhealthy.tolist() == [one.unhealthy for one in states]
    assert state.blocks.tolist() == [one.blocks for one in states]
    for name in ("total", "cash", "log_invested"):
        np.testing.assert_allclose(getattr(state, name), [getattr(one, name) for one in states], rtol=0, atol=EXACTLY)
    np.testing.assert_allclose(together.e_value, [test.e_value for test in alone], rtol=EXACTLY)


@pytest.mark.parametrize("widest", [1, 5, e_processes.WIDEST])
def test_each_is_what_it_is_alone(monkeypatch, widest):
    """However wide a block may be that tests share."""
    monkeypatch.setattr(e_processes, "WIDEST", widest)

    @settings(max_examples=150, deadline=None)
    @given(kinds, feeds)
    def law(kind, fed):
        together, alone = EProcesses(**kind, tests=TESTS), [EProcess(**kind) for _ in range(TESTS)]
        for feed in fed:
            together.update(*columns(feed)[0], columns(feed)[1])
            for one, block in feed.items():
                alone[one].update(*block)
            assert_alike(together, alone)

    law()


@pytest.mark.parametrize(("psi0", "canary_error", "most"), [(1.0, 0.12, 300), (1.3, 0.15, 300), (1.0, 0.12, 4_000)])
def test_many_at_once_give_what_each_gives_alone(psi0, canary_error, most):
    rng, tests, kind = np.random.default_rng(7), 60, {"alpha": 0.05, "psi0": psi0, "max_labels": 500}
    together, alone = EProcesses(**kind, tests=tests), [EProcess(**kind) for _ in range(tests)]
    for _ in range(40):
        n = rng.integers(1, most, tests)
        n_b = rng.binomial(n, rng.random(tests))
        block = n - n_b, n_b, rng.binomial(n - n_b, 0.1), rng.binomial(n_b, canary_error)
        together.update(*block)
        for test, *one in zip(alone, *(column.tolist() for column in block), strict=True):
            test.update(*one)
    assert 0 < together.unhealthy.sum() < tests or most > 1_000
    assert_alike(together, alone)


@pytest.mark.parametrize("bad", [0, 1])
def test_evidence_too_small_or_too_large_for_a_number_stays_what_it_is_alone(bad):
    """A thousand blocks in which canary is much better, or much worse, at a level that nobody reaches."""
    kind = {"alpha": 1e-300, "psi0": 1.0, "max_labels": 300}
    together, alone = EProcesses(**kind, tests=1), EProcess(**kind)
    for _ in range(1_000):
        block = 30, 30, 30 - 20 * bad, 10 + 20 * bad
        together.update(*(np.array([number]) for number in block))
        alone.update(*block)
    np.testing.assert_allclose(together.state.total, [alone.state.total], rtol=EXACTLY)
    np.testing.assert_allclose(together.state.log_invested, [alone.state.log_invested], rtol=EXACTLY)


@settings(max_examples=50, deadline=None)
@given(kinds, feeds, st.integers(0, 8))
def test_a_snapshot_is_invisible_bit_for_bit(kind, fed, at):
    through, before = EProcesses(**kind, tests=TESTS), EProcesses(**kind, tests=TESTS)
    for feed in fed[:at]:
        through.update(*columns(feed)[0], columns(feed)[1])
        before.update(*columns(feed)[0], columns(feed)[1])
    restored, kept = EProcesses(**kind, tests=TESTS), before.snapshot()
    restored.restore(kept)
    for feed in fed[at:]:
        through.update(*columns(feed)[0], columns(feed)[1])
        restored.update(*columns(feed)[0], columns(feed)[1])
    np.testing.assert_equal(restored.snapshot(), through.snapshot())
    np.testing.assert_equal(kept, before.snapshot())


def test_the_state_of_another_number_of_tests_is_refused():
    state = EProcesses(alpha=0.05, psi0=1.0, max_labels=10, tests=3).snapshot()
    with pytest.raises(ValueError, match="not one of 4 tests"):
        EProcesses(alpha=0.05, psi0=1.0, max_labels=10, tests=4).restore(state)


@pytest.mark.parametrize("block", [(90, 10, 9, 11), (90, 10, 91, 1), (90, 10, -1, 1), (90, 10, 1, -1)])
def test_more_bad_outcomes_than_outcomes_are_refused(block):
    test = EProcesses(alpha=0.05, psi0=1.0, max_labels=10, tests=2)
    with pytest.raises(ValueError, match="a part of all"):
        test.update(*(np.array([first, second]) for first, second in zip((90, 10, 9, 1), block, strict=True)))
