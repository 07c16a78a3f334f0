"""A split that is set by hand is waited for until every live router obeys it; one that cannot be is never set."""

from collections.abc import Callable

import pytest

from stream_router.adapters.clock import now_ms
from stream_router.core.route import Route
from stream_router.core.routing.applied_split import INITIAL_SPLIT, AppliedSplit, moved_share
from stream_router.core.routing.control_view import ControlView
from stream_router.core.routing.partitioner import WeightedPartitioner
from stream_router.core.routing.router_status import RouterStatus
from stream_router.core.routing.split_store import call_until_read
from stream_router.errors import NoAnswerError, SplitError
from stream_router.processes.split_change import change_split, split_state
from stream_router.testing import FakeSplitStore
from stream_router.testing.router_store import FakeRouterStore

RAW = b'{"stable": 0.9, "canary": 0.1}'


class World:
    """A store and routers that do what they do while somebody waits: a turn of each is one step of `steps`."""

    def __init__(self, *steps: Callable[["World"], object]) -> None:
        self.splits, self.routers, self.view = FakeSplitStore(Route("r")), FakeRouterStore(), ControlView()
        self._steps = list(steps)

    def sleep(self, _seconds: float) -> None:
        if self._steps:
            self._steps.pop(0)(self)

    def call(self) -> None:
        call_until_read(self.splits, self.view, now=now_ms(), who="router a")

    def adopt(self, instance: str) -> None:
        applied = self.splits.applied() or INITIAL_SPLIT
        self.routers.tell(RouterStatus(instance=instance, epoch=applied.epoch, digest=applied.digest, seen=now_ms()))

    def change(self, raw: bytes = RAW, timeout: float = 10.0):
        return change_split(self.splits, self.routers, raw, timeout, self.sleep)


def test_a_change_is_over_once_the_last_router_obeys():
    world = World(World.call, lambda w: w.adopt("a"), lambda w: w.adopt("b"))
    world.adopt("a")
    world.adopt("b")
    change = world.change()
    assert change.after.applied.raw == RAW
    assert (change.moved, change.after.disobeying) == (0.1, ())
    assert world._steps == []  # noqa: SLF001 - all of it had to happen


def test_a_document_that_no_router_would_obey_is_never_set():
    world = World()
    with pytest.raises(SplitError, match=r'write it as \{"stable": 0.9, "canary": 0.1\}'):
        world.change(b'{"stable": 90, "canary": 10}')
    assert world.splits.look().type == "none"


def test_one_that_the_latch_refuses_says_how_it_ends():
    world = World(World.call)
    world.adopt("a")
    world.splits.propose(RAW)
    world.call()
    world.view.on_rollback(1, "worse")
    world.call()
    with pytest.raises(SplitError, match=r"SET stream_router:\{r\}:release 1"):
        world.change(b'{"stable": 0.8, "canary": 0.2}')


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ((), "no router lives"),
        ((lambda w: w.adopt("a"),), "no router has put it in force"),
        ((lambda w: w.adopt("a"), World.call), "not obeyed yet by a"),
    ],
)
def test_a_change_that_takes_too_long_says_what_is_missing(steps, why):
    world = World()
    for step in steps[:1]:
        step(world)
    world._steps = list(steps[1:])  # noqa: SLF001 - as above
    with pytest.raises(NoAnswerError, match=why):
        world.change(timeout=0.0 if len(steps) < 2 else 0.2)


def test_a_refused_document_is_shown_as_long_as_it_stands():
    world = World()
    world.splits.propose(b"90/10")
    world.call()
    assert split_state(world.splits, world.routers).rejected is not None
    world.splits.propose(RAW)
    world.call()
    assert split_state(world.splits, world.routers).rejected is None


@pytest.mark.parametrize(
    ("before", "after"), [((1, 0.0), (1, 0.3)), ((1, 0.3), (1, 0.1)), ((1, 0.3), (2, 0.2)), ((1, 0.5), (1, 0.0))]
)
def test_the_share_that_moves_is_that_of_the_partitioner(before, after):
    def applied(rollout: int, canary: float) -> AppliedSplit:
        raw = f'{{"stable": {1 - canary}, "canary": {canary}}}'.encode()
        return AppliedSplit(raw=raw, canary=canary, rollout=rollout)

    keys = [str(number).encode() for number in range(50_000)]
    lanes = [
        WeightedPartitioner("r", split.rollout).is_canary(keys, split.split)
        for split in (applied(*before), applied(*after))
    ]
    moved = (lanes[0] != lanes[1]).mean()
    assert moved_share(applied(*before), applied(*after)) == pytest.approx(moved, abs=0.01)
