"""Windows equal a recount of the topics, whatever happens to monitors."""

import pytest
from support.recount import recount
from support.waiting import wait_until
from support.whole_loop import POLICY, Loop
from support.window_recount import windows_of

from stream_router.adapters.avro.labels import decode_label
from stream_router.adapters.avro.records import decode_prediction, decode_split, decode_windowed_accuracy
from stream_router.core.routing.split import parse_split

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(240)]


def test_windowed_accuracy_equals_a_recount_although_the_monitor_is_killed(loop: Loop):
    loop.start(stable="0.9", canary="0.9")
    loop.set_split(0.3)
    with loop.traffic():
        wait_until(lambda: loop.read("windowed-accuracy"), 60, "windows")
        loop.start_monitor("b")
        wait_until(
            lambda: {e.by for _, e in loop.evidence() if e.partition is not None} >= {"a", "b"}, 60, "both to write"
        )
        loop.monitor.kill()
        seen = len(loop.evidence())
        wait_until(lambda: len(loop.evidence()) > seen + 20, 60, "the other to take over")
    loop.truth.send(0, loop.feeder.sent)  # again: duplicates change nothing

    def recounted():
        predictions = [decode_prediction(r.value) for r in loop.read("predictions")]
        if len(predictions) < loop.feeder.sent:
            return None
        labels = [decode_label(r.value, r.timestamp, r.offset) for r in loop.read("ground-truth")]
        return windows_of(recount(predictions, labels, POLICY), POLICY)

    expected = wait_until(recounted, 60, "all predictions")

    def windows():
        newest = {r.key: decode_windowed_accuracy(r.value) for r in loop.read("windowed-accuracy")}
        return {window.key: window for window in newest.values()}

    wait_until(lambda: windows() == expected, 60, "the windows to equal the recount")
    assert len({key.window for key in expected}) > 5
    assert {key.lane for key in expected} == {"stable", "canary"}
    assert sum(window.predicted for window in expected.values()) == loop.feeder.sent
    assert all(None not in (window.latency_p99, window.model_latency_p99) for window in expected.values())
    splits = [decode_split(r.value) for r in loop.read("splits")]
    in_force = {(e.epoch_in_force.epoch, e.epoch_in_force.digest) for _, e in loop.evidence() if e.epoch_in_force}
    assert in_force == {(applied.epoch, applied.digest) for applied in splits}
    assert all(parse_split(applied.raw).canary == applied.canary for applied in splits)
