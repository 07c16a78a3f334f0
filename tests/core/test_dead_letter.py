"""When dead letters are too many."""

import pytest

from stream_router.core.dead_letter import DeadLetterLimit
from stream_router.errors import DeadLetterLimitError

WHY = ValueError("why")


def test_good_records_between_them_end_a_row():
    limit = DeadLetterLimit(ratio=1.0, consecutive=2)
    for _ in range(10):
        limit.on_dead_letter(WHY)
        limit.on_dead_letter(WHY)
        limit.on_records(1)
    limit.on_dead_letter(WHY)
    limit.on_dead_letter(WHY)
    with pytest.raises(DeadLetterLimitError, match="3 dead letters in a row, more than 2; the last: why"):
        limit.on_dead_letter(WHY)


def test_the_ratio_counts_from_a_thousand_records_on():
    limit = DeadLetterLimit(ratio=0.1, consecutive=1000)
    for _ in range(500):
        limit.on_dead_letter(WHY)
    limit.on_records(499)
    with pytest.raises(DeadLetterLimitError, match="501 of 1000 records"):
        limit.on_dead_letter(WHY)
