"""A model's errors are told once a kind and minute, and each is counted in one report."""

from hypothesis import given
from hypothesis import strategies as st

from stream_router.core.scoring.error_tally import EVERY, ErrorTally

KINDS = st.sampled_from(["ValueError: a", "ValueError: b", "KeyError: 'x'", "timed out after 30 s"])
BATCHES = st.lists(st.tuples(st.integers(0, 20_000), st.lists(KINDS, max_size=4)), max_size=40)


@given(BATCHES)
def test_each_kind_is_told_at_most_once_a_minute_and_nothing_is_counted_twice(batches):
    tally, now, told_at, told, happened = ErrorTally(), 0, {}, {}, {}
    for later, errors in [*batches, (EVERY, ["ValueError: c", "KeyError: 1", "timed out after 30 s"])]:
        now += later
        for error in errors:
            kind = error.partition(":")[0]
            happened[kind] = happened.get(kind, 0) + 1
        for report in tally.on_errors([(f"r{place}", error) for place, error in enumerate(errors)], now):
            assert now - told_at.get(report.kind, -EVERY) >= EVERY
            told_at[report.kind] = now
            told[report.kind] = told.get(report.kind, 0) + report.errors
    assert told == happened


def test_a_report_names_one_request_of_the_batch():
    (report,) = ErrorTally().on_errors([("r1", "ValueError: a"), ("r2", "ValueError: b")], 0)
    assert (report.kind, report.errors) == ("ValueError", 2)
    assert (report.request_id, report.error) in [("r1", "ValueError: a"), ("r2", "ValueError: b")]
