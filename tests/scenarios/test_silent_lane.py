"""A lane that stops answering, on real servers: stable holds until it answers again, canary is rolled back."""

import pytest
from support.waiting import wait_until
from support.whole_loop import ENVIRONMENT, Loop

from stream_router.adapters.avro.records import decode_prediction
from stream_router.adapters.redis.fields import status_from_fields

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(240)]

DEADLINE = "3"


def test_a_silent_stable_lane_holds_and_a_silent_canary_is_rolled_back(loop: Loop):
    environment = ENVIRONMENT | {"STREAM_ROUTER_POLICY__PREDICTION_DEADLINE": DEADLINE}

    def scores(lane):
        model = ("--model", "support.models:load", "--model-version", {"stable": "0.9", "canary": "0.91"}[lane])
        return loop.processes.start("score", "--route", loop.route.name, "--lane", lane, *model, **environment)

    def holds():
        fields = loop.redis.hgetall(loop.route.key("rollout"))
        return status_from_fields(fields).holds if fields else ()

    def holds_for(text):
        return any(text in sentence for sentence in holds())

    def answered(lane):
        return sum(decode_prediction(record.value).lane == lane for record in loop.read("predictions"))

    loop.processes.start("route", "--route", loop.route.name)
    loop.processes.start("monitor", "--route", loop.route.name, "--worker", "a", **environment)
    jobs = {lane: scores(lane) for lane in ("stable", "canary")}
    wait_until(lambda: len(loop.redis.hgetall(loop.route.key("models"))) == 2, 60, "both models to be registered")
    with loop.traffic(rate=100):
        loop.set_split(0.2)
        wait_until(lambda: answered("canary"), 60, "canary to answer")
        jobs["stable"].kill()
        wait_until(lambda: holds_for("stable does not answer"), 60, "the hold for stable")
        jobs["stable"] = scores("stable")
        wait_until(lambda: not holds_for("does not answer"), 60, "stable to answer again")
        assert loop.events() == []
        jobs["canary"].kill()
        event = wait_until(loop.events, 60, "the rollback in Kafka")[0]
        wait_until(lambda: loop.applied("canary") == "0.0", 30, "the rollback in Redis")

    assert (event.kind, event.metric, event.verdict, event.numbers) == ("rollback", "silence", "unhealthy", None)
    assert "canary 0.91 does not answer" in event.reason
    assert f"wait for more than {DEADLINE} s" in event.reason
    silences = [silence for _, record in loop.evidence() for silence in record.silences]
    assert {silence.lane for silence in silences} == {"stable", "canary"}
    assert ("stable", 0) in {(silence.lane, silence.unanswered) for silence in silences}
