"""The table of the join behaves as a dictionary of lists."""

from collections import defaultdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_router.core.joining.table import NO_ROW, Table

KEYS = st.lists(st.integers(0, 40), max_size=60)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), KEYS),
        st.tuples(st.just("remove"), st.integers(0, 2**32 - 1)),
        st.tuples(st.just("below"), st.integers(0, 200)),
    ),
    max_size=30,
)


def keys_of(numbers: list[int], *, crowded: bool) -> np.ndarray:
    """Crowded: all search from one place, the last of the index, on."""
    low = (
        [2**64 - 1 - number % 2 for number in numbers]
        if crowded
        else [number * 0x9E3779B97F4A7C15 % 2**64 for number in numbers]
    )
    return np.array([numbers, low], np.uint64).reshape(2, -1).T.copy()


@settings(deadline=None)
@given(STEPS, st.booleans())
def test_it_finds_what_a_dictionary_of_lists_finds(steps: list[tuple[str, object]], crowded: bool) -> None:
    table, plain, serial = Table({"serial": np.int64}), defaultdict(list), 0
    for what, argument in steps:
        if what == "insert":
            serials = list(range(serial, serial + len(argument)))
            serial += len(argument)
            table.insert(keys_of(argument, crowded=crowded), {"serial": serials})
            for key, number in zip(argument, serials, strict=True):
                plain[key].append(number)
        elif what == "remove":
            rows = table.all_rows()
            chosen = rows[np.random.default_rng(argument).random(len(rows)) < 0.5]
            gone = set(table["serial"][chosen].tolist())
            table.remove(chosen)
            plain = defaultdict(list, {key: [n for n in had if n not in gone] for key, had in plain.items()})
        else:
            table.remove(table.where("serial", argument))
            plain = defaultdict(list, {key: [n for n in had if n >= argument] for key, had in plain.items()})
        check(table, plain, crowded=crowded)


def check(table: Table, plain: dict[int, list[int]], *, crowded: bool) -> None:
    assert len(table) == sum(map(len, plain.values()))
    rows = table.find(keys_of(list(range(41)), crowded=crowded))
    found: dict[int, list[int]] = {key: [] for key in range(41)}
    while (rows != NO_ROW).any():
        for key in np.flatnonzero(rows != NO_ROW):
            found[int(key)].append(int(table["serial"][rows[key]]))
        rows = np.where(rows == NO_ROW, NO_ROW, table.next(rows))
    assert found == {key: plain.get(key, []) for key in range(41)}
    heads = table.find(keys_of([key for key in range(41) if plain.get(key)], crowded=crowded))
    newest = table["serial"][table.newest(heads)].tolist()
    assert newest == [plain[key][-1] for key in range(41) if plain.get(key)]
    assert sorted(table["serial"][table.all_rows()].tolist()) == sorted(n for had in plain.values() for n in had)


def test_removed_rows_are_used_again_and_the_index_stays_small() -> None:
    table, random = Table({"serial": np.int64}), np.random.default_rng(1)
    for turn in range(200):
        table.insert(random.integers(0, 2**64, (1000, 2), np.uint64), {"serial": np.full(1000, turn)})
        table.remove(table.where("serial", turn - 9))
    assert len(table) == 10_000
    assert len(table["serial"]) <= 1.5 * 11_000
    assert len(table._index) <= 11_000 / 0.4 + 1  # noqa: SLF001 - its memory


def test_a_table_that_grows_finds_everything() -> None:
    table, random = Table({"serial": np.int32}), np.random.default_rng(1)
    keys = random.integers(0, 2**64, (100_000, 2), np.uint64)
    for first in range(0, len(keys), 7_000):
        part = keys[first : first + 7_000]
        table.insert(part, {"serial": np.arange(first, first + len(part))})
    assert (table["serial"][table.find(keys)] == np.arange(len(keys))).all()
    assert (table.find(keys + np.uint64(1)) == NO_ROW).all()
