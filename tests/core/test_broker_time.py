"""What is known of the brokers' clock."""

from stream_router.core.broker_time import BrokerTime
from stream_router.core.policy import CLOCK_SKEW_MS


def test_before_a_broker_tells_nothing_is_too_far_ahead():
    time = BrokerTime()
    assert time.at(5) is None
    assert time.excess(10**15, 5) == 0


def test_it_goes_on_from_what_was_told_last():
    time = BrokerTime()
    time.on_told(1_000_000, 500)
    assert time.at(600) == 1_000_100
    time.on_told(1_000_700, 1_000)
    assert time.at(1_000) == 1_000_700


def test_a_time_may_be_ahead_by_as_much_as_clocks_differ():
    time = BrokerTime()
    time.on_told(1_000_000, 500)
    assert time.excess(1_000_000 + CLOCK_SKEW_MS, 500) == 0
    assert time.excess(1_000_000 + CLOCK_SKEW_MS + 7, 500) == 7
