"""A thread that takes turns is looked after: what ended it is kept, and a turn that hangs is noticed."""

import threading

import pytest

from stream_router.processes import worker
from stream_router.processes.worker import Worker


@pytest.fixture(autouse=True)
def _any_turn_hangs(monkeypatch):
    monkeypatch.setattr(worker, "HUNG", 0.0)


class Gate:
    """Somebody waits here until let through."""

    def __init__(self) -> None:
        self._reached, self._open = threading.Event(), threading.Event()

    def wait(self) -> bool:
        self._reached.set()
        return self._open.wait(60)

    def reached(self) -> bool:
        return self._reached.wait(60)

    def open(self) -> None:
        self._open.set()


def test_only_a_turn_hangs_never_the_wait_for_it():
    before, turn, after = Gate(), Gate(), Gate()
    waits = iter([before.wait, after.wait, lambda: False])

    def wait() -> bool:
        return next(waits)()

    tested = Worker("tested", wait, turn.wait)
    tested.start()
    assert before.reached()
    assert not tested.hangs
    before.open()
    assert turn.reached()
    assert tested.hangs
    turn.open()
    assert after.reached()
    assert not tested.hangs
    after.open()
    assert tested.ended(60)
    assert not tested.hangs
    assert tested.failure is None


def test_what_a_turn_raises_ends_the_thread_and_is_kept():
    tested = Worker("tested", lambda: True, lambda: 1 / 0)
    tested.start()
    assert tested.ended(60)
    assert isinstance(tested.failure, ZeroDivisionError)
    assert not tested.hangs


def test_a_thread_that_never_began_has_ended():
    assert Worker("tested", lambda: True, lambda: None).ended(60)
