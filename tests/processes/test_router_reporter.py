"""A router tells Redis by which split it routes: at once where that has changed, else now and then; for no price."""

from stream_router.core.routing.applied_split import INITIAL_SPLIT, AppliedSplit
from stream_router.processes.router_reporter import TELL_EVERY, RouterReporter
from stream_router.testing.router_store import FakeRouterStore

SPLIT = AppliedSplit(raw=b'{"stable": 0.9, "canary": 0.1}', canary=0.1, epoch=3)


class World:
    def __init__(self) -> None:
        self.store, self.split, self.now = FakeRouterStore(), INITIAL_SPLIT, 1_000
        self.told = 0
        tell = self.store.tell

        def counted(status):
            self.told += 1
            tell(status)

        self.store.tell = counted
        self.reporter = RouterReporter(self.store, "host", lambda: self.split, clock=lambda: self.now)

    @property
    def epochs(self) -> list[int]:
        return [router.epoch for router in self.store.routers()]


def test_a_change_is_told_at_once_and_the_same_now_and_then():
    world = World()
    world.reporter.turn()
    assert world.epochs == [0]
    world.split = SPLIT
    world.reporter.turn()
    assert world.epochs == [3]
    for _ in range(10):
        world.reporter.turn()
    assert world.told == 2
    world.now += TELL_EVERY
    world.reporter.turn()
    assert world.told == 3
    assert world.store.routers()[0].seen == world.now


def test_a_redis_that_is_away_ends_nothing_and_is_told_later():
    world = World()
    world.store.away = True
    world.reporter.turn()
    world.store.away = False
    world.now += TELL_EVERY
    world.reporter.turn()
    assert world.epochs == [0]


def test_a_router_that_ends_leaves():
    world = World()
    world.reporter.turn()
    world.reporter.start()
    world.reporter.stop()
    assert world.epochs == []
