"""The end of a call that never returns."""

import faulthandler
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

_log = structlog.get_logger()


@contextmanager
def watchdog(doing: str, seconds: float) -> Iterator[None]:
    """End the process with exit code 1 if the block takes longer than so many seconds; first show all stacks.

    After an outage of a broker librdkafka may stay in a call past its timeout for ever. Nothing is lost by an end: the
    open transaction is undone by Kafka, and a restart reads its records again.
    """

    def end() -> None:
        _log.error("hangs, so the process ends: start it again", doing=doing, seconds=seconds)
        faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
