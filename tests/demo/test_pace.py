"""The pace of the demo: its settings are good ones, and let every flight land in time."""

from stream_router.demo.pace import LONGEST, SECONDS_PER_HOUR, accelerated
from stream_router.settings import load_settings, policy_of


def test_the_demo_judges_by_a_policy_under_which_the_longest_flight_lands_in_time(monkeypatch, tmp_path):
    for name, value in accelerated(tmp_path).items():
        monkeypatch.setenv(name, value)
    policy = policy_of(load_settings())
    assert policy.label_horizon >= 1000 * LONGEST / 60 * SECONDS_PER_HOUR + 900
    assert policy.block_time == 3_000
