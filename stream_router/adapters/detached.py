"""A blocking call in a thread of its own, which is left to itself where the call never returns.

A daemon thread, unlike an executor's: a client that hangs in a call must not keep the process from ending.
"""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

Settle = Callable[[Any, BaseException | None], None]
"""Takes what the call returned, or what it raised."""


def detached(call: Callable[[], Any], settle: Settle | None = None, name: str = "call") -> None:
    """Begin the call; `settle` is called in its thread once it is over, never where it hangs."""

    def work() -> None:
        result: Any = None
        raised: BaseException | None = None
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - handed on to who waits
            raised = error
        if settle is not None:
            settle(result, raised)

    threading.Thread(target=work, name=name, daemon=True).start()


def within(seconds: float, call: Callable[[], T], name: str = "call") -> T:
    """What the call returns or raises. Raises TimeoutError after so many seconds: its thread is then left to itself."""
    over = threading.Event()
    outcome: list[tuple[T, BaseException | None]] = []

    def settle(result: T, raised: BaseException | None) -> None:
        outcome.append((result, raised))
        over.set()

    detached(call, settle, name)
    if not over.wait(seconds):
        raise TimeoutError(f"{name} did not return within {seconds:g} s")
    result, raised = outcome[0]
    if raised is not None:
        raise raised
    return result
