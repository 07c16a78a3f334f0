"""The verdict is that of the evidence, and the windows are those of the topics, whatever is killed on the way there."""

import random
import time

import pytest
from support.recount import Recount, recount, said
from support.waiting import wait_until
from support.whole_loop import Loop
from support.window_recount import windows_of

from stream_router.adapters.avro.labels import decode_label
from stream_router.adapters.avro.records import decode_split, decode_windowed_accuracy
from stream_router.core.evidence import LABELLING
from stream_router.core.joining.split_history import SplitHistory

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(300)]

RATE = 300


class Monitors:
    """Two, of which each may be the controller; whoever is killed comes back at once."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self._running = {worker: loop.start_monitor(worker) for worker in "ab"}

    def kill(self, workers) -> None:
        for worker in workers:
            self._running[worker].kill()
        for worker in workers:
            self._running[worker] = self.loop.start_monitor(worker)


@pytest.fixture
def monitors(loop: Loop) -> Monitors:
    """Of a route with a poor canary; those who are killed are missed after two and a half seconds."""
    loop.kafka["session.timeout.ms"] = "2500"
    loop.start_route_and_jobs(stable="0.9", canary="0.75")
    return Monitors(loop)


def test_monitors_and_the_controller_may_be_killed_between_any_two_steps(loop: Loop, monitors: Monitors):
    def who_started_the_rollout():
        return [record.by for _, record in loop.evidence() if record.rollout_started]

    def who_joined():
        return [record.by for _, record in loop.evidence() if record.outcomes]

    def bet_on():
        status = loop.status()
        return (status and status.trial and status.trial.blocks) or loop.events()

    with loop.traffic(RATE):
        loop.set_split(0.3)
        monitors.kill(wait_until(who_started_the_rollout, 60, "the rollout's start record")[0])
        monitors.kill(wait_until(who_joined, 60, "outcomes")[-1])
        wait_until(bet_on, 60, "a bet")
        monitors.kill("ab")
        wait_until(loop.events, 90, "the rollback in Kafka")
        monitors.kill("ab")
        wait_until(lambda: loop.applied("canary") == "0.0", 60, "the rollback in Redis")
    check(loop)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(6))
def test_monitors_may_be_killed_at_any_moment(loop: Loop, monitors: Monitors, seed: int):
    chance = random.Random(seed)
    with loop.traffic(RATE):
        loop.set_split(0.3)
        begun = time.monotonic()
        while not loop.events() and time.monotonic() - begun < 90:
            time.sleep(chance.uniform(0.5, 8))
            monitors.kill(chance.choice(["a", "b", "ab"]))
        wait_until(lambda: loop.applied("canary") == "0.0", 60, "the rollback in Kafka and Redis")
    check(loop)


def check(loop: Loop) -> None:
    """One rollback, which the evidence gives to whoever folds it, bit for bit; outcomes and windows as recounted."""
    loop.truth.send(0, loop.feeder.sent)  # of some this is the second: duplicates change nothing
    expected = wait_until(lambda: recounted(loop), 60, "all predictions")

    def windows():
        newest = {r.key: decode_windowed_accuracy(r.value) for r in loop.read("windowed-accuracy")}
        return {window.key: window for window in newest.values()}

    wait_until(lambda: windows() == windows_of(expected, loop.judged_by), 60, "the windows to equal the recount")
    assert sum(window.predicted for window in windows().values()) == loop.feeder.sent
    assert any(window.errors is not None and window.model_latency_p99 is not None for window in windows().values())

    evidence = loop.evidence()
    assert said(record for _, record in evidence).without(LABELLING) == expected.without(LABELLING)
    (event,) = loop.events()
    assert (event.rollout, event.verdict, event.metric) == (1, "unhealthy", "accuracy")
    assert loop.replayed(event) == [event]
    assert [record.rollout_started.rollout for _, record in evidence if record.rollout_started] == [1]


def recounted(loop: Loop) -> Recount | None:
    """From the topics alone, once all requests are scored."""
    predictions = loop.predictions()
    if len(predictions) < loop.feeder.sent:
        return None
    labels = [decode_label(r.value, r.timestamp, r.offset) for r in loop.read("ground-truth")]
    splits = SplitHistory()
    for record in loop.read("splits"):
        splits.add(decode_split(record.value), record.timestamp)
    return recount(predictions, labels, loop.judged_by, splits)
