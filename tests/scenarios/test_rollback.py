"""The whole loop on real servers: a poor canary is rolled back, and stays out until a person says otherwise."""

import pytest
from support.waiting import wait_until
from support.whole_loop import Loop

from stream_router.adapters.avro.records import decode_split

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(240)]


def test_a_poor_canary_is_rolled_back_and_stays_out_until_it_is_released(loop: Loop):
    loop.start(stable="0.9", canary="0.6")
    with loop.traffic():
        loop.set_split(0.2)
        event = loop.rolled_back()
        epoch = int(loop.applied("epoch"))
        wait_until(
            lambda: epoch in {decode_split(r.value).epoch for r in loop.read("splits")}, 30, "the router to obey"
        )
        loop.set_split(0.3)
        key = loop.route.key("release")
        wait_until(
            lambda: f"SET {key} 1".encode() in (loop.redis.hget(loop.route.key("rejected"), "why") or b""),
            30,
            "the refusal under the latch to name the command that ends it",
        )
        assert loop.applied("canary") == "0.0"
        loop.redis.set(key, 1)
        loop.set_split(0.31)
        wait_until(lambda: loop.applied("rollout") == "2", 30, "a new rollout after the release")

    assert (event.kind, event.rollout, event.metric, event.verdict) == ("rollback", 1, "accuracy", "unhealthy")
    numbers = event.numbers
    assert numbers.e_value >= numbers.threshold == pytest.approx(1 / (0.05 * 0.6))
    assert numbers.difference_high < 0
    assert (event.stable_version, event.canary_version) == ("0.9", "0.6")
    for quoted in (
        f"of {numbers.canary_labels:,} labels)",
        f"of {numbers.stable_labels:,})",
        "reached 33.33",
        "0.6",
        "0.9",
    ):
        assert quoted in event.reason
    assert event.deciding_label_at is not None
    assert event.deciding_label_at <= event.decided_at
    under_rollback = [prediction for prediction in loop.predictions() if prediction.epoch == epoch]
    assert under_rollback
    assert {p.lane for p in under_rollback} == {"stable"}
