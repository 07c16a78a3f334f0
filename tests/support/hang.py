"""A call of a scripted client that never returns, given up at once: no test waits for a limit of seconds."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from stream_router.adapters.detached import detached
from stream_router.adapters.kafka import producers

T = TypeVar("T")
_POLL = 0.001


class Hang:
    """`step` hangs until it is released, then is the call as it is."""

    def __init__(self, monkeypatch: Any) -> None:
        self._hanging, self._released = threading.Event(), threading.Event()
        self.returned = threading.Event()
        monkeypatch.setattr(producers, "within", self._within)

    def step(self, _client: Any, call: Callable[[], Any]) -> Any:
        self._hanging.set()
        try:
            assert self._released.wait(60), "nobody released the call"
            return call()
        finally:
            self.returned.set()

    def release(self) -> None:
        self._released.set()

    def _within(self, seconds: float, call: Callable[[], T], name: str) -> T:
        outcome: list[tuple[T, BaseException | None]] = []
        over = threading.Event()

        def settle(result: T, raised: BaseException | None) -> None:
            outcome.append((result, raised))
            over.set()

        detached(call, settle)
        while not over.wait(_POLL):
            if self._hanging.is_set():
                self._hanging.clear()
                raise TimeoutError(f"{name} did not return within {seconds:g} s")
        result, raised = outcome[0]
        if raised is not None:
            raise raised
        return result
