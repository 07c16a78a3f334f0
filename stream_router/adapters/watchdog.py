"""The end of a process that hangs in a call."""

import faulthandler
import os
import sys

import structlog

_log = structlog.get_logger()


def end_now(why: str) -> None:
    """End the process with exit code 1, after a line that says why and the stacks of all threads.

    Nothing is lost by it: Kafka undoes the open transaction, and a restart reads its records again.
    """
    _log.error("the process ends now", why=why)
    faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
    os._exit(1)
