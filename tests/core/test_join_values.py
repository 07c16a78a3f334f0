"""Values in columns agree as Python's do."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream_router.core.joining.values import agree, coded, same

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.integers(-2, 2),
    st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400]),
    st.floats(),
    st.integers(-2, 2).map(float),
    st.text(max_size=3),
)


@settings(deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES)))
@example([(float(2**53), 2**53 + 1), (2**53 + 1, 2**53 + 1), (2.0**63, 2**63), (1, True), (-0.0, 0), (1, "1")])
@example([(float("nan"), float("nan")), (float("inf"), 10**400)])
def test_they_agree_as_python_compares_them(pairs: list) -> None:
    values, truths = coded([one for one, _ in pairs]), coded([other for _, other in pairs])
    expected = [one is not None and one == other for one, other in pairs]
    assert agree(values, truths).tolist() == expected


def test_nothing_and_nan_say_the_same_as_themselves_and_agree_with_nothing() -> None:
    values = coded([None, float("nan")])
    assert same(values, values).tolist() == [True, True]
    assert agree(values, values).tolist() == [False, False]
