"""Sessions of groups that the brokers refuse: each process says so, and ends."""

import pytest

pytestmark = pytest.mark.stack

COMMANDS = {
    "router": ("route",),
    "scoring job": ("score", "--lane", "stable", "--model", "support.models:load", "--model-version", "1"),
    "monitor": ("monitor",),
}


@pytest.mark.parametrize("process", COMMANDS)
def test_a_session_timeout_below_the_brokers_least_is_named(route, stack_processes, process):
    flags = ("--kafka", "session.timeout.ms=500", "--kafka", "heartbeat.interval.ms=100")
    ended = stack_processes.run(*COMMANDS[process], "--route", route.name, *flags, PYTHONPATH="tests")
    assert ended.process.returncode == 2
    last = ended.stderr.splitlines()[-1]
    assert "setting session.timeout.ms is 500" in last
    assert "group.min.session.timeout.ms" in last
