"""Scoring jobs whose models change or do harm, on real servers, as separate processes."""

import json
import socket
import time

import pytest
from redis import Redis
from support.waiting import wait_until

from stream_router.adapters.redis.jobs import job_from_json

pytestmark = pytest.mark.stack


class Job:
    """A scoring job of the lane, with a model of support.unruly_models."""

    def __init__(self, lane, stack):
        self.lane, self.url = lane, stack.redis_url

    def command(self, *more):
        route = ("--route", self.lane.route.name, "--lane", "canary")
        return ("score", *route, "--model", "support.unruly_models:load", *more)

    def start(self, *more):
        return self.lane.processes.start(*self.command(*more), PYTHONPATH="tests")

    def run(self, *more):
        return self.lane.processes.run(*self.command(*more), PYTHONPATH="tests")

    def set_version(self, version):
        with Redis.from_url(self.url) as redis:
            redis.hset(self.lane.route.key("models"), "canary", version)

    def told(self):
        with Redis.from_url(self.url) as redis:
            fields = redis.hgetall(self.lane.route.key("jobs"))
        return {name.decode(): job_from_json(content) for name, content in fields.items()}

    def wait_for(self, **wanted):
        def found():
            return any(all(getattr(job, name) == of for name, of in wanted.items()) for job in self.told().values())

        wait_until(found, 30, f"a job with {wanted}")

    def wait_for_predictions(self, count):
        wait_until(lambda: len(self.lane.predictions()) >= count, 60, f"{count} predictions")


@pytest.fixture
def job(lane, stack):
    return Job(lane, stack)


def test_a_job_follows_its_lane_under_load_and_each_prediction_names_the_model_that_made_it(job, lane):
    job.set_version("1")
    running = job.start("--max-batch", "20")
    job.wait_for(version="1", state="scoring")
    sent = 0

    def more():
        nonlocal sent
        lane.fill(range(sent, sent + 50))
        sent += 50

    more()
    job.set_version("2")
    deadline = time.monotonic() + 60
    while not any(told.version == "2" for told in job.told().values()) and time.monotonic() < deadline:
        more()
    more()
    job.set_version("does-not-load")
    job.wait_for(version="2", state="failed", wanted="does-not-load")
    more()
    job.wait_for_predictions(sent)
    assert running.terminate() == 0
    assert job.told() == {}, "one that ends as it should takes its entry along"
    predictions = lane.predictions()
    assert sorted(int(prediction.request_id[1:]) for prediction in predictions) == list(range(sent))
    assert {prediction.model_version for prediction in predictions} == {"1", "2"}
    assert all(prediction.model_digest == f"digest of {prediction.model_version}" for prediction in predictions)
    assert all(prediction.value == int(prediction.request_id[1:]) for prediction in predictions)


@pytest.mark.parametrize("version", ["hangs", "hangs-in-c", "crashes"])
def test_a_batch_that_a_model_hangs_or_crashes_on_is_errors_and_the_job_goes_on(job, lane, version):
    lane.fill(range(30))
    done = job.run("--model-version", version, "--until", "end", "--max-batch", "10", "--model-timeout", "1")
    assert done.wait() == 0, done.stderr
    predictions = lane.predictions()
    assert len(predictions) == 30
    harmed = [prediction for prediction in predictions if prediction.error is not None]
    assert "r13" in {prediction.request_id for prediction in harmed}
    assert len({prediction.batch_id for prediction in harmed}) == 1
    said = "SIGSEGV" if version == "crashes" else "timed out after 1 s"
    assert all(said in prediction.error for prediction in harmed)


def test_a_job_whose_model_hangs_ends_at_once_and_the_next_one_scores_its_batch(job, lane):
    lane.fill([13])
    running = job.start("--model-version", "hangs", "--model-timeout", "100")
    job.wait_for(state="scoring")
    wait_until(lambda: "partitions assigned" in running.stderr, 30, "partitions")
    begun = time.monotonic()
    assert running.terminate() == 0, running.stderr
    assert time.monotonic() - begun < 5
    assert lane.predictions() == []
    assert job.run("--model-version", "hangs", "--until", "end", "--model-timeout", "1").wait() == 0
    assert [prediction.request_id for prediction in lane.predictions()] == ["r13"]


def test_a_job_may_wait_longer_for_a_batch_than_a_transaction_may_be_open(job, lane):
    running = job.start("--model-version", "1", "--max-wait", "13")
    job.wait_for(state="scoring")
    lane.fill(range(5))
    job.wait_for_predictions(5)
    assert running.terminate() == 0
    assert len({prediction.batch_id for prediction in lane.predictions()}) <= 2


def test_a_batch_job_beside_the_live_one_of_its_host_shuts_nobody_out(job, lane):
    live = job.start("--model-version", "1", "--max-batch", "10")
    job.wait_for(instance=socket.gethostname(), state="scoring")
    lane.fill(range(500))
    batch = job.run("--model-version", "1", "--until", "end", "--max-batch", "10", "--output", "json")
    assert batch.wait() == 0, batch.stderr
    lane.fill(range(500, 510))
    job.wait_for_predictions(510)
    assert live.terminate() == 0, live.stderr
    assert sorted(int(prediction.request_id[1:]) for prediction in lane.predictions()) == list(range(510))


def test_a_second_live_job_of_one_name_is_refused_and_the_first_goes_on(job, lane):
    first = job.start("--model-version", "1", "--instance", "a")
    job.wait_for(state="scoring")
    second = job.run("--model-version", "1", "--instance", "a")
    assert second.wait() == 1
    assert "instance 'a' already: give this one an --instance of its own" in second.stderr
    lane.fill(range(5))
    job.wait_for_predictions(5)
    assert first.terminate() == 0


def test_a_limited_job_scores_exactly_so_many_and_the_next_goes_on_there(job, lane):
    lane.fill(range(100))
    counts = []
    for limit in ("30", "50", "30"):
        done = job.run("--model-version", "1", "--until", "end", "--limit", limit, "--output", "json")
        assert done.wait() == 0, done.stderr
        counts.append(json.loads(done.stdout)["predictions"])
    assert counts == [30, 50, 20]
    assert sorted(int(prediction.request_id[1:]) for prediction in lane.predictions()) == list(range(100))
