"""What Redis hears of a scoring job; without Redis the job goes on as it is."""

import structlog
from support.model_scripts import ScriptedJob


def warnings_of(job, minutes):
    """Each minute's, of a turn every 2 s."""
    with structlog.testing.capture_logs() as lines:
        for _ in range(round(minutes * 30)):
            job.now += 2
            job.reporter.turn()
    return [line["event"] for line in lines]


def test_a_job_is_seen_at_each_turn_and_its_state_dates_from_its_change():
    job = ScriptedJob()
    job.now = 5.0
    job.start("7")
    job.now = 9.0
    status = job.status()
    assert (status.seen, status.state, 5_000 <= status.since < 6_000) == (9_000, "scoring", True)


def test_a_job_of_another_version_than_its_lane_says_so_each_minute_until_it_is_over():
    job = ScriptedJob(pinned=True)
    job.start("7")
    job.set_lane("8")
    said = warnings_of(job, 3)
    assert len(said) == 3
    assert "another version than its lane has" in said[0]
    job.set_lane("7")
    assert warnings_of(job, 3) == []


def test_an_outage_of_redis_is_said_once_and_the_lane_keeps_its_version():
    job = ScriptedJob()
    job.start("7")
    job.set_lane("7")
    job.jobs.away = job.splits.away = True
    assert len(warnings_of(job, 3)) == 1
    assert job.reporter.lane_version == "7"
    job.jobs.away = job.splits.away = False
    assert job.status().seen == round(job.now * 1000)


def test_a_version_that_could_not_be_registered_at_the_start_is_later_where_the_lane_has_none():
    for lane, expected in ((None, "7"), ("8", "8")):
        job = ScriptedJob(pinned=True)
        job.reporter.must_register = True
        job.start("7")
        job.set_lane(lane)
        assert job.splits.models().stable == expected
        assert not job.reporter.must_register


def test_a_lane_whose_version_was_deleted_is_not_registered_anew():
    job = ScriptedJob(pinned=True)
    job.start("7")
    job.set_lane(None)
    assert job.splits.models().stable is None


def test_a_job_that_ends_as_it_should_leaves_and_another_one_stays_to_grow_old():
    for leave in (True, False):
        job = ScriptedJob()
        job.start("7")
        job.reporter.turn()
        job.reporter.stop(leave=leave)
        assert bool(job.jobs.jobs()) is not leave
