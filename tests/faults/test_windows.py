"""Windows equal a recount of the topics, whatever happens to monitors."""

from collections import Counter

import pytest
from support.waiting import wait_until
from support.whole_loop import POLICY, Loop

from stream_router.adapters.avro.codec import Codec
from stream_router.adapters.avro.records import decode_prediction, decode_split
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
        rows = [
            (
                POLICY.window_start(p.routed_at),
                p.rollout,
                p.lane,
                p.model_version,
                p.value == (int(p.request_id[1:]) % 2 == 0),
            )
            for p in predictions
        ]
        return Counter(row[:4] for row in rows), Counter(row[:4] for row in rows if row[4])

    predicted, correct = wait_until(recounted, 60, "all predictions")

    def windows():
        newest = {r.key: Codec.of("windowed_accuracy").decode(r.value) for r in loop.read("windowed-accuracy")}
        return {(w["window_start"], w["rollout"], w["lane"], w["model_version"]): w for w in newest.values()}

    def agree():
        found = windows()
        return {key: (w["predicted"], w["labelled"], w["correct"]) for key, w in found.items()} == {
            key: (count, count, correct[key]) for key, count in predicted.items()
        }

    wait_until(agree, 60, "the windows to equal the recount")
    assert len({key[0] for key in predicted}) > 5
    assert {key[2] for key in predicted} == {"stable", "canary"}
    splits = [decode_split(r.value) for r in loop.read("splits")]
    in_force = {(e.epoch_in_force.epoch, e.epoch_in_force.digest) for _, e in loop.evidence() if e.epoch_in_force}
    assert in_force == {(applied.epoch, applied.digest) for applied in splits}
    assert all(parse_split(applied.raw).canary == applied.canary for applied in splits)
