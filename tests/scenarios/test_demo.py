"""The demo, run as a user runs it."""

import json
import os
import signal

import pytest
from support.leftovers import processes_with
from support.waiting import wait_until

pytestmark = [
    pytest.mark.stack,
    pytest.mark.long,
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("demo"),  # each is seven processes, and servers of their own
]


@pytest.fixture
def demo(processes, tmp_path):
    """Starts `stream-router demo`; afterwards none of its processes may be left."""

    def start(*arguments):
        return processes.start("demo", *arguments, TMPDIR=str(tmp_path))

    yield start
    assert processes_with("TMPDIR", str(tmp_path)) == {}


def on_the_stack(stack, route_name):
    return ("--bootstrap-servers", stack.bootstrap_servers, "--redis-url", stack.redis_url, "--route", route_name)


def wait_for(command, text, seconds=140):
    def said():
        assert command.running(), command.stderr
        return text in command.stderr

    wait_until(said, seconds, f"{text!r} on stderr")


def test_the_bad_canary_is_rolled_back(demo, tmp_path):
    command = demo("--output", "json")
    assert command.wait(220) == 0, command.stderr
    result = json.loads(command.stdout)
    stable, canary = result["lanes"]["stable"], result["lanes"]["canary"]

    assert (result["verdict"], result["metric"]) == ("rolled back", "accuracy")
    assert result["evidence"] >= result["threshold"] == pytest.approx(1 / (0.05 * 0.6))
    assert canary["accuracy"] < stable["accuracy"]
    for lane in (stable, canary):
        assert 0 < lane["correct"] <= lane["labelled"] <= lane["requests"]
        assert lane["interval"][0] < lane["accuracy"] < lane["interval"][1]
    assert result["bad_model_answered"] == canary["requests"]
    assert result["bad_model_answered"] < 0.3 * result["without_canary_release"]
    assert result["seconds_from_deciding_label_to_rollback"] > 0
    assert result["since_rollback"]["stable"] > 0
    assert result["since_rollback"]["canary"] == 0
    assert "logreg-hours is less accurate than stable logreg-minutes" in result["reason"]
    assert not list(tmp_path.glob("stream-router-demo-*")), "without --keep no folder stays"


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "The models are trained"),
        (signal.SIGINT, "answer"),
        (signal.SIGTERM, "Started"),
        (signal.SIGINT, "redis-cli"),
    ],
)
def test_it_can_be_interrupted_at_any_moment(demo, tmp_path, number, moment):
    command = demo("--output", "json")
    wait_for(command, moment)
    command.process.send_signal(number)
    assert command.wait(60) == 0, command.stderr
    assert "every process is stopped" in command.stderr
    assert processes_with("TMPDIR", str(tmp_path)) == {}


def test_a_healthy_canary_is_kept_and_the_demo_says_why_it_failed(demo, stack, route_name):
    arguments = ("--canary-version", "logreg-minutes", "--limit", "8", "--output", "json")
    command = demo(*on_the_stack(stack, route_name), *arguments)
    assert command.wait(220) == 1
    assert "no rollback within 8 s of the SET" in command.stderr
    assert "canary" in command.stderr.splitlines()[-1]
    assert command.stdout == ""


def test_a_process_that_ends_is_named_with_its_log(demo, stack, route_name, tmp_path):
    command = demo(*on_the_stack(stack, route_name))
    scorer = wait_until(lambda: scorers(tmp_path), 60, "the canary's scoring job")
    os.kill(scorer[0], signal.SIGKILL)
    assert command.wait(60) == 1
    assert "score-canary ended with exit code -9; its log" in command.stderr


def scorers(tmp_path):
    return [
        pid
        for pid, command in processes_with("TMPDIR", str(tmp_path)).items()
        if "score" in command and "canary" in command
    ]


def test_a_route_that_exists_is_left_alone(demo, stack, route):
    command = demo(*on_the_stack(stack, route.name))
    assert command.wait(60) == 2
    assert f"route {route.name} has topics on these servers already" in command.stderr


def test_one_server_alone_is_refused(demo):
    command = demo("--redis-url", "redis://127.0.0.1:1/0")
    assert command.wait(60) == 2
    assert "both --bootstrap-servers and --redis-url" in command.stderr
