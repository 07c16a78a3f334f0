"""Blocking calls beside an event loop, in threads that never hold up the end of the process."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


async def in_thread(function: Callable[..., Any], *arguments: Any, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - the thread outlives it
    """What the function returns or raises. TimeoutError after so many seconds: the thread is then left to itself.

    A daemon thread, unlike an executor's: a client that hangs in a call must not keep the process from ending.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def work() -> None:
        result, raised = None, None
        try:
            result = function(*arguments)
        except BaseException as error:  # noqa: BLE001 - handed on to who waits
            raised = error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, raised)

    threading.Thread(target=work, name=getattr(function, "__name__", "call"), daemon=True).start()
    return await asyncio.wait_for(done, timeout)
