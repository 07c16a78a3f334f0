"""YAML as plain data: as PyYAML reads it where the two versions of YAML agree, with the place of each field."""

import json
from itertools import pairwise

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stream_router.policies.yaml_source import MAX_BYTES, Source

names = st.text("abcdefgh", min_size=1, max_size=5)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="latin-1", exclude_categories=("Cc",)))
)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=12
)


def read(text):
    source = Source(text if isinstance(text, bytes) else text.encode())
    assert source.faults == []
    return source.value


def faults(text):
    return [str(fault) for fault in Source(text if isinstance(text, bytes) else text.encode()).faults]


@given(documents)
def test_what_json_writes_is_read(document):
    assert read(json.dumps(document, ensure_ascii=False)) == document


@given(documents)
def test_what_pyyaml_writes_is_read(document):
    assert read(yaml.safe_dump(document, allow_unicode=False)) == document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("yes", "yes"),
        ("1e-6", 1e-6),
        (".5", 0.5),
        ("1:30", "1:30"),
        ("0x1F", "0x1F"),
        ("2026-01-31", "2026-01-31"),
        ("1_000", "1_000"),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("!!str 1", "1"),
    ],
)
def test_plain_scalars_are_those_of_yaml_1_2(text, value):
    source = Source(text.encode())
    assert source.value == value or source.faults


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "line 3, column 1: 'a' stands here for the second time, first on line 1"),
        ("a: {b: 1, b: 1}", "line 1, column 11: 'b' stands here for the second time, first on line 1"),
        ("a:\n\tb: 1", "line 2, column 1: this is not YAML: a tab cannot stand here: indent with spaces"),
        ("a: [1", "line 1, column 6: this is not YAML: while parsing a flow sequence"),
        ("a: 1\n---\nb: 1", "line 2, column 1: a second document begins here"),
        ("a: &x 1", "line 1, column 4: 'x' is an anchor"),
        ("a: !!python/object/apply:os.system [ls]", "line 1, column 4: tag '!!python/object/apply:os.system' is not"),
        ("? [a, b]\n: 1", "line 1, column 3: a key is a list"),
        ("- " * 30 + "1", "nested more than 10 deep"),
        ("[" * 50_000, "nested more than 10 deep"),
        ("a: " + "{a: " * 20_000, "nested more than 10 deep"),
        (b"a: 1\nb: \xff", "byte 0xff on line 2 is not UTF-8"),
        (b"\x00", "character 0 cannot stand in YAML"),
        ('"\\U11111111"', "cannot be read as YAML"),
        ("%YAML " + "9" * 5_000 + ".1\n---\n", "cannot be read as YAML"),
        (b" " * (MAX_BYTES + 1), "more than 100,000 bytes"),
    ],
)
def test_what_harms_or_deceives_is_told_with_its_place(text, said):
    assert said in "\n".join(faults(text))


def test_a_cycle_and_a_bomb_of_anchors_are_not_followed():
    assert len(faults("&a [*a]")) == 2
    bomb = "a: &a [x, x]\n" + "".join(f"{new}: &{new} [{f'*{old}, ' * 9}]\n" for old, new in pairwise("abcdefg"))
    assert all("is an anchor" in told for told in faults(bomb))


@given(st.binary() | st.text("[]{}&*!%:-?|>'\"#@\t\n ,abx\\01.~").map(str.encode))
def test_any_bytes_are_read_or_refused(data):
    source = Source(data)
    assert source.faults or isinstance(source.value, dict | list | str | int | float | None)


@given(st.dictionaries(names, st.dictionaries(names, st.integers(), min_size=1, max_size=3), min_size=1, max_size=3))
def test_a_place_is_that_of_the_name(document):
    text = yaml.safe_dump(document)
    source, lines = Source(text.encode()), text.splitlines()
    for outer, inner in document.items():
        for path in ((outer,), *((outer, name) for name in inner)):
            line, column = source.place(path)
            assert lines[line - 1][column - 1 :].startswith(f"{path[-1]}:")
        assert source.place((outer, "none")) == source.place((outer,))
