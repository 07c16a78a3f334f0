"""Which model answers: the one that loaded and warmed up, never longer than its timeout."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.model_scripts import ScriptedJob

from stream_router.adapters.kafka.handler import Unfinished
from stream_router.errors import ModelError

ROWS = [{"x": 1}, {"x": 2}]


def served(job, rows=ROWS):
    """A batch, as the job's loop does it."""
    job.model.turn()
    return job.model.ask(rows)


def test_an_answer_says_whose_it_is():
    job = ScriptedJob()
    job.start("7")
    answer, version, digest = served(job)
    assert [output.value for output in answer.outputs] == [1, 2]
    assert (version, digest) == ("7", "digest of 7")
    status = job.status()
    assert (status.version, status.digest, status.state, status.wanted) == ("7", "digest of 7", "scoring", "7")


def test_a_model_that_hangs_gives_errors_after_its_timeout_and_is_started_again():
    job = ScriptedJob(timeout=30.0)
    job.start("7")
    job.answers["7"] = False
    answer, version, _ = served(job)
    assert [output.error for output in answer.outputs] == ["timed out after 30 s"] * 2
    assert (version, 30 <= job.now < 31) == ("7", True)
    assert [process.is_killed for process in job.processes] == [True, False]
    job.answers["7"] = True
    assert served(job).answer.outputs[0].value == 1


def test_a_model_that_dies_is_started_again():
    job = ScriptedJob()
    job.start("7")
    job.answers["7"] = "dies"
    assert "SIGSEGV" in served(job).answer.outputs[0].error
    job.answers["7"] = True
    assert served(job).answer.outputs[0].error is None
    assert job.living() == ["7"]


def test_a_job_that_is_told_to_stop_leaves_a_batch_that_hangs():
    job = ScriptedJob(timeout=30.0)
    job.start("7")
    job.answers["7"], job.is_stopped = False, True
    with pytest.raises(Unfinished):
        served(job)
    assert job.now < 3


def test_a_job_that_is_told_to_stop_waits_for_no_model_to_load():
    job = ScriptedJob()
    job.loads["7"], job.is_stopped = False, True
    job.model.begin("7")
    with pytest.raises(Unfinished):
        job.model.wait()


def test_the_lanes_new_version_is_loaded_beside_the_old_one_warmed_up_and_swapped_in():
    job = ScriptedJob()
    job.start("7")
    served(job)
    job.loads["8"], job.answers["8"] = False, False
    job.set_lane("8")
    for _ in range(3):
        assert served(job).version == "7"
    job.loads["8"] = True
    assert served(job).version == "7"
    assert job.processes[1].rows == ROWS, "it warms up on the last batch"
    job.answers["8"] = True
    assert served(job).version == "8"
    assert job.living() == ["8"]
    assert (job.status().version, job.status().state) == ("8", "scoring")


@pytest.mark.parametrize(
    ("loads", "answers", "said"),
    [
        ("no such file", True, "no such file"),
        (False, True, "did not load within 600 s"),
        (True, "ValueError: broken", "answers none of the last batch's 2 requests: ValueError: broken"),
        (True, "dies", "SIGSEGV"),
        (True, False, "timed out after 30 s on the last batch"),
    ],
)
def test_a_version_that_does_not_load_or_warm_up_gets_no_request_and_its_job_says_why(loads, answers, said):
    job = ScriptedJob()
    job.start("7")
    served(job)
    job.loads["8"], job.answers["8"] = loads, answers
    job.set_lane("8")
    for _ in range(3):
        job.now += 5
        assert served(job).version == "7"
    job.now += 600
    assert served(job).version == "7"
    status = job.status()
    assert (status.version, status.state, status.wanted) == ("7", "failed", "8")
    assert said in status.last_error


def test_a_version_that_failed_is_tried_again_and_forgotten_when_the_lane_goes_back():
    job = ScriptedJob()
    job.start("7")
    job.loads["8"] = "no such file"
    job.set_lane("8")
    for _ in range(4):
        served(job)
    assert len(job.processes) == 2
    job.set_lane("7")
    served(job)
    assert job.status().state == "scoring"
    job.set_lane("8")
    served(job)
    served(job)
    assert job.status().state == "failed"
    job.loads["8"] = True
    job.now += 61
    for _ in range(3):
        served(job)
    assert served(job).version == "8"


def test_a_job_whose_lane_moves_on_from_a_version_that_failed_has_not_failed_any_more():
    job = ScriptedJob()
    job.start("7")
    job.loads |= {"8": "no such file", "9": False}
    for version, state in (("8", "failed"), ("9", "scoring")):
        job.set_lane(version)
        served(job)
        served(job)
        assert (job.status().state, job.status().wanted) == (state, version)


def test_errors_that_the_old_version_makes_too_do_not_hold_back_the_new_one():
    job = ScriptedJob()
    job.start("7")
    job.answers |= {"7": "ValueError: poor", "8": "ValueError: poor"}
    served(job)
    job.set_lane("8")
    for _ in range(3):
        served(job)
    assert served(job).version == "8"


def test_a_pinned_job_stays_with_its_version_and_an_absent_version_is_no_other():
    for pinned, lane in ((True, "8"), (False, None)):
        job = ScriptedJob(pinned=pinned)
        job.start("7")
        job.set_lane(lane)
        assert [served(job).version for _ in range(3)] == ["7"] * 3
        assert len(job.processes) == 1


def test_another_model_under_the_same_version_does_not_start():
    job = ScriptedJob()
    job.start("7")
    job.digests["7"] = "another"
    job.answers["7"] = "dies"
    served(job)
    with pytest.raises(ModelError, match=r"has digest another, and had digest of 7 .* HDEL"):
        served(job)


def test_a_swap_to_a_changed_model_of_a_known_version_fails():
    job = ScriptedJob()
    job.jobs.record_digest("8", "first")
    job.start("7")
    job.set_lane("8")
    for _ in range(3):
        assert served(job).version == "7"
    assert "had first" in job.status().last_error


def test_a_digest_that_nobody_can_record_holds_nothing_up():
    job = ScriptedJob()
    job.jobs.away = True
    job.start("7")
    assert served(job).version == "7"


ACTS = st.sampled_from(["7", "8", "9", None, "batch", "hang", "die", "heal", "poison", "unload", "load"])


@given(st.lists(ACTS, max_size=40))
def test_each_answer_is_of_the_process_that_it_names_whatever_happens(acts):
    """And at most one process beside the one that scores is alive."""
    job = ScriptedJob()
    job.start("7")
    for act in acts:
        if act in ("7", "8", "9", None):
            job.set_lane(act)
        elif act in ("hang", "die", "heal", "poison"):
            kind = {"hang": False, "die": "dies", "heal": True, "poison": "ValueError: poison"}[act]
            job.answers = dict.fromkeys("89", kind)
        elif act in ("unload", "load"):
            job.loads = dict.fromkeys("89", act == "load" or "no such file")
        try:
            answer, version, digest = served(job)
        except ModelError:  # a version that answered and cannot be loaded again
            assert job.loads
            return
        assert len(answer.outputs) == len(ROWS)
        assert digest == f"digest of {version}"
        said = job.answers.get(version, True)
        assert (said is True) == (answer.outputs[0].error is None)
        assert len(job.living()) <= 2
    assert job.status().version in ("7", "8", "9")
