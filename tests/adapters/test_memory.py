"""The process's memory, in processes of their own: what is set holds for the whole process."""

import ctypes
import subprocess
import sys

import pytest

HAS_MALLINFO = hasattr(ctypes.CDLL(None), "mallinfo2")


def printed(code):
    """By a process that has called nothing yet."""
    start = "import ctypes, gc\nfrom stream_router.adapters.memory import handle_batches\n"
    return subprocess.run(
        [sys.executable, "-c", start + code], check=True, capture_output=True, text=True, timeout=30
    ).stdout.split()


MAPPED = """
class Mallinfo(ctypes.Structure):
    _fields_ = [("others", ctypes.c_size_t * 3), ("hblks", ctypes.c_size_t), ("rest", ctypes.c_size_t * 6)]

library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.mallinfo2.restype = Mallinfo

def mapped():
    before = library.mallinfo2().hblks
    library.malloc(16 * 2**20)
    return library.mallinfo2().hblks - before
"""


def test_garbage_is_collected_after_batches_not_within_one():
    assert printed("handle_batches(); print(*gc.get_threshold())") == ["200000", "50", "100"]


@pytest.mark.skipif(not HAS_MALLINFO, reason="the C library does not tell what malloc has done")
def test_the_arrays_of_a_batch_are_not_mapped_and_unmapped_each_time():
    assert printed(f"{MAPPED}print(mapped()); handle_batches(); print(mapped())") == ["1", "0"]


def test_a_c_library_without_mallopt_does_no_harm():
    missing = "ctypes.CDLL = lambda _name: object()"
    assert printed(f"{missing}; handle_batches(); print(*gc.get_threshold())") == ["200000", "50", "100"]
