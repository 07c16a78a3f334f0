"""Lanes that do not answer, or not in time, on real servers."""

import os
import signal

import pytest
from support.waiting import wait_until
from support.whole_loop import Loop

from stream_router.adapters.avro.records import decode_windowed_accuracy
from stream_router.core.evidence import PREDICTION

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(240)]


def test_a_silent_stable_lane_holds_and_a_silent_canary_is_rolled_back(loop: Loop):
    loop.policy |= {"prediction_deadline": 3, "silent_for": 3}
    loop.start(stable="0.9", canary="0.91")
    with loop.traffic(rate=100):
        loop.set_split(0.2)
        wait_until(lambda: has_answered(loop, "canary"), 60, "canary to answer")
        loop.jobs["stable"].kill()
        wait_until(lambda: loop.hold("stable does not answer"), 60, "the hold for stable")
        loop.start_job("stable", "0.9")
        wait_until(lambda: not loop.hold("does not answer"), 60, "stable to answer again")
        assert loop.events() == []
        loop.jobs["canary"].kill()
        event = loop.rolled_back()

    assert (event.kind, event.metric, event.verdict, event.numbers) == ("rollback", "silence", "unhealthy", None)
    assert "canary 0.91 does not answer" in event.reason
    assert "wait for more than 3 s" in event.reason
    silences = [silence for _, record in loop.evidence() for silence in record.silences]
    assert {silence.lane for silence in silences} == {"stable", "canary"}
    assert ("stable", 0) in {(silence.lane, silence.unanswered) for silence in silences}
    assert loop.replayed(event) == [event]


def test_a_lane_that_lags_and_catches_up_is_not_rolled_back_and_its_late_answers_do_not_count(loop: Loop):
    """Stopped for longer than the deadline, and for less than silent_for more."""
    deadline = 6
    loop.policy |= {"prediction_deadline": deadline, "silent_for": 2 * deadline, "label_horizon": 10}
    loop.start(stable="0.9", canary="0.91")
    with loop.traffic(rate=200):
        loop.set_split(0.2)
        wait_until(lambda: has_answered(loop, "canary"), 60, "canary to answer")
        os.killpg(loop.jobs["canary"].process.pid, signal.SIGSTOP)
        held = wait_until(lambda: loop.hold("canary 0.91 does not answer"), 60, "the hold")
        os.killpg(loop.jobs["canary"].process.pid, signal.SIGCONT)
        assert f"it is rolled back if it stays silent for {2 * deadline} s" in held
        wait_until(lambda: not loop.hold("does not answer"), 60, "canary to answer again")
    wait_until(lambda: len(loop.predictions()) == loop.feeder.sent, 60, "all predictions")

    def late(lane):
        waits = (p.scored_at - p.routed_at for p in loop.predictions() if p.lane == lane)
        return sum(wait > 1000 * deadline for wait in waits)

    def counted(field):
        newest = {r.key: decode_windowed_accuracy(r.value) for r in loop.read("windowed-accuracy")}
        return {
            lane: sum(getattr(w, field) for w in newest.values() if w.lane == lane) for lane in ("stable", "canary")
        }

    wait_until(lambda: sum(counted("predicted").values()) == loop.feeder.sent, 60, "all to be counted")
    assert late("canary") > 0
    assert counted("late") == {"stable": late("stable"), "canary": late("canary")}
    columns = [column for _, record in loop.evidence() for column in record.outcomes if column.key.metric == PREDICTION]
    assert sum(len(column) for column in columns if column.key.lane == "canary") == (
        counted("predicted")["canary"] - counted("late")["canary"]
    )
    assert max(column.delay.max() for column in columns) <= 1000 * deadline
    assert loop.events() == []


def has_answered(loop, lane):
    return any(prediction.lane == lane for prediction in loop.predictions())
