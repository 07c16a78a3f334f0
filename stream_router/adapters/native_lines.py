"""What libraries in C write to stderr by themselves, above all librdkafka, as log lines of our form.

librdkafka could call Python's logging, but a fatal error, which it raises inside the same poll, breaks that call.
"""

import atexit
import logging
import os
import re
import sys
import threading
from typing import Final

_LIBRDKAFKA: Final = re.compile(r"%(?P<level>[0-7])\|[\d.]+\|(?P<kind>[^|]*)\|(?P<client>[^|]*)\| (?P<text>.*)")
_LEVELS: Final = (*[logging.CRITICAL] * 3, logging.ERROR, logging.WARNING, *[logging.INFO] * 2, logging.DEBUG)
"""By syslog's number, which librdkafka's lines begin with."""

_END: Final = 1.0
"""Seconds that the last lines may take at the end of the process."""


def log_native_lines() -> None:
    """From now on lines written to file descriptor 2 become log lines; Python's own stderr goes where it went before.

    Call it before logging is configured.
    """
    real = os.dup(2)
    sys.stderr = sys.__stderr__ = os.fdopen(real, "w", buffering=1, errors="backslashreplace", closefd=False)  # type: ignore[misc]  # the watchdog shows stacks there
    reading, writing = os.pipe()
    os.set_blocking(writing, False)  # else a full pipe would hold up whoever writes: rather lose a line
    os.dup2(writing, 2)
    os.close(writing)
    logging.getLogger("librdkafka").setLevel(logging.DEBUG)  # what it says is up to its own log_level
    thread = threading.Thread(target=_read, args=(reading,), name="native-lines", daemon=True)
    thread.start()

    def end() -> None:
        os.dup2(real, 2)
        thread.join(_END)

    atexit.register(end)


def _read(reading: int) -> None:
    with os.fdopen(reading, errors="backslashreplace") as lines:
        for line in lines:
            log_line(line.rstrip())


def log_line(line: str) -> None:
    """Log a line that a library wrote."""
    if found := _LIBRDKAFKA.fullmatch(line):
        logger = logging.getLogger("librdkafka")
        logger.log(_LEVELS[int(found["level"])], "%s %s: %s", found["kind"], found["client"], found["text"])
    elif line:
        logging.getLogger("native").warning("%s", line)
