"""Blocking calls beside an event loop, in threads that never hold up the end of the process."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from stream_router.adapters.detached import detached


async def in_thread(function: Callable[..., Any], *arguments: Any, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - the thread outlives it
    """What the function returns or raises. TimeoutError after so many seconds: the thread is then left to itself."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, raised: BaseException | None) -> None:
        if done.done():
            return
        if raised is None:
            done.set_result(result)
        else:
            done.set_exception(raised)

    def hand_over(result: Any, raised: BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, raised)

    detached(partial(function, *arguments), hand_over, getattr(function, "__name__", "call"))
    return await asyncio.wait_for(done, timeout)
