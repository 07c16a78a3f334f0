"""Evidence is written as rarely as the verdict allows."""

import math

from stream_router.core.joining import flush_schedule
from stream_router.core.joining.flush_schedule import FlushSchedule


def test_nothing_is_never_due():
    schedule = FlushSchedule()
    assert schedule.is_empty
    assert schedule.due_at(ripening=True) == schedule.due_at(ripening=False) == math.inf


def test_counts_are_gathered_from_the_first_on():
    schedule = FlushSchedule()
    schedule.on_records(10.0)
    schedule.on_records(10.9)
    assert schedule.due_at(ripening=False) == 11.0


def test_outcomes_wait_less_than_counts_and_not_at_all_where_a_block_could_close():
    schedule = FlushSchedule()
    schedule.on_outcomes(10.4, is_full=False)
    schedule.on_flush(10.4, with_watermark=False)
    schedule.on_records(10.4)
    schedule.on_outcomes(10.5, is_full=False)
    assert schedule.due_at(ripening=False) == 10.65
    schedule.on_outcomes(10.6, is_full=True)
    schedule.on_outcomes(10.7, is_full=False)
    assert schedule.due_at(ripening=False) == -math.inf


def test_an_outcome_after_a_pause_is_written_at_once_and_counts_alone_are_no_reason_to_wait():
    schedule = FlushSchedule()
    schedule.on_outcomes(10.0, is_full=False)
    assert schedule.due_at(ripening=False) == 10.0
    schedule.on_flush(10.0, with_watermark=False)
    schedule.on_records(11.0)
    schedule.on_flush(12.0, with_watermark=False)
    schedule.on_outcomes(12.1, is_full=False)
    assert schedule.due_at(ripening=False) == 12.1


def test_watermarks_come_every_second_only_while_outcomes_ripen():
    schedule = FlushSchedule()
    schedule.on_watermark()
    assert schedule.due_at(ripening=False) == -math.inf, "the first one"
    schedule.on_flush(10.0, with_watermark=True)
    assert schedule.is_empty
    schedule.on_watermark()
    assert schedule.due_at(ripening=True) == 11.0
    assert schedule.due_at(ripening=False) == 15.0


def test_a_watermark_that_rides_on_a_flush_puts_the_next_one_off():
    schedule = FlushSchedule()
    schedule.on_records(10.0)
    schedule.on_watermark()
    schedule.on_flush(11.0, with_watermark=True)
    schedule.on_watermark()
    assert schedule.due_at(ripening=False) == 16.0


def test_a_watermark_that_a_flush_leaves_stays_due():
    schedule = FlushSchedule()
    schedule.on_watermark()
    schedule.on_flush(10.0, with_watermark=False)
    assert schedule.due_at(ripening=False) == -math.inf


def test_positions_that_moved_past_markers_alone_are_in_no_hurry():
    schedule = FlushSchedule()
    schedule.on_moved(10.0)
    schedule.on_moved(12.0)
    assert schedule.due_at(ripening=True) == 10.0 + flush_schedule.WATERMARK_EVERY
    schedule.on_flush(15.0, with_watermark=False)
    assert schedule.is_empty
