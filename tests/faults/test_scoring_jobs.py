"""Each request is predicted once, whatever happens to its scoring job."""

import pytest
from support.waiting import wait_until

pytestmark = pytest.mark.stack


def test_each_request_is_predicted_once_although_the_job_is_killed(lane):
    lane.fill(range(500))
    for kill in range(3):
        job = lane.start("even", "--max-batch", "50", "--instance", "a")
        before = len(lane.predictions())
        lane.fill(range(500 * (kill + 1), 500 * (kill + 2)))
        wait_until(lambda before=before: len(lane.predictions()) > before, 60, "predictions")
        job.kill()
    last = lane.start("even", "--instance", "a")
    lane.fill(range(2000, 2010))
    wait_until(lambda: len(lane.predictions()) >= 2010, 60, "all predictions")
    last.terminate()
    assert last.wait(30) == 0
    assert sorted(p.request_id for p in lane.predictions()) == sorted(f"r{number}" for number in range(2010))
