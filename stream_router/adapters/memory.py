"""How the process handles memory while batches of records come and go."""

import ctypes
import gc
from contextlib import suppress
from typing import Final

_COLLECT_AFTER: Final = (200_000, 50, 100)
"""Containers made and not yet freed, then collections of the younger generation: a batch holds tens of thousands of
objects, none of them in a cycle, and each collection would look at all of them."""

_MALLOPT: Final = {
    1: 0,  # M_MXFAST: no list of small free pieces, which is emptied again and again while a batch is freed
    -1: 64 * 2**20,  # M_TRIM_THRESHOLD, bytes: what one batch has freed stays for the next
    -3: 32 * 2**20,  # M_MMAP_THRESHOLD, bytes, the largest allowed: likewise for its arrays
}
"""Numbers as in glibc's malloc.h, https://man7.org/linux/man-pages/man3/mallopt.3.html."""


def handle_batches() -> None:
    """Spend memory of some batches instead of a fifth of the time on giving it back. For the whole process."""
    gc.set_threshold(*_COLLECT_AFTER)
    with suppress(OSError, AttributeError, TypeError):  # a C library that has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _MALLOPT.items():
            mallopt(option, value)
