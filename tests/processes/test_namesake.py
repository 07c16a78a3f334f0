"""A second live job of one name does not start; one after a crash waits for a moment, any other not at all."""

from dataclasses import replace

import pytest
from support.model_scripts import ScriptedJob

from stream_router.adapters.clock import now_ms
from stream_router.errors import FencedError
from stream_router.processes.namesake import refuse_namesake


class World:
    """In which a predecessor may live."""

    def __init__(self, age=0, lives=False, leaves=False):
        self.now, self.lives, self.leaves = 0.0, lives, leaves
        job = ScriptedJob()
        self.store = job.jobs
        self.before = replace(job.reporter.status, seen=now_ms() - age)
        self.store.tell(self.before)

    def sleep(self, seconds):
        self.now += seconds
        if self.lives and self.now >= 2:
            self.store.tell(replace(self.before, seen=self.before.seen + 2_000))
        if self.leaves:
            self.store.leave(self.before.name)

    def start(self, name="stable/a"):
        refuse_namesake(self.store, name, lambda: False, clock=lambda: self.now, sleep=self.sleep)


def test_a_second_job_of_a_live_ones_name_is_refused_and_told_what_to_do():
    with pytest.raises(FencedError, match="instance 'a' already: give this one an --instance of its own"):
        World(lives=True).start()


def test_a_job_whose_predecessor_was_killed_starts_within_seconds():
    world = World()
    world.start()
    assert 2 < world.now < 4


def test_a_job_whose_predecessor_leaves_meanwhile_starts_then():
    world = World(leaves=True)
    world.start()
    assert world.now < 1


@pytest.mark.parametrize("age", [11_000, 10**9])
def test_nobody_waits_for_one_that_is_long_gone_or_of_another_name(age):
    world = World(age)
    world.start()
    World(lives=True).start("stable/b")
    assert world.now == 0
