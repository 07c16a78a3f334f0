"""What the lanes' topics can hold."""

from hypothesis import given
from hypothesis import strategies as st

from stream_router.core.routing.lane_limits import LaneLimits

NOW = 1_000_000
LIMITS = LaneLimits(topics=("stable", "canary"), retention=1_000, max_bytes=40)

content = st.none() | st.binary(max_size=45)
records = st.tuples(
    content,
    content,
    st.none() | st.lists(st.tuples(st.text("ab", max_size=8), content), max_size=3),
    st.sampled_from([-1, 0, NOW - 1_001, NOW - 1_000, NOW]),
)


def refused(batch):
    return any(LIMITS.problem(*record, NOW) for record in batch)


@given(st.lists(records, max_size=6))
def test_a_batch_of_which_a_record_is_refused_is_always_looked_at(batch):
    *columns, timestamps = [list(column) for column in zip(*batch, strict=True)] or [[], [], [], []]
    assert LIMITS.may_refuse(*columns, min(timestamps, default=NOW), NOW) or not refused(batch)


def test_a_batch_far_from_the_limits_is_not_looked_at_record_by_record():
    fine = (b"x" * 20, b"k" * 5, [("h", b"1")], NOW)
    *columns, _ = [list(column) for column in zip(*[fine] * 5, strict=True)]
    assert not LIMITS.may_refuse(*columns, NOW, NOW)
    assert not LaneLimits(LIMITS.topics, None, 40).may_refuse(*columns, 0, NOW)
