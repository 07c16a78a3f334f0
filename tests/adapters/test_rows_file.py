"""Rows on disk are whole, or they are not there."""

import numpy as np
import pytest
from structlog.testing import capture_logs

from stream_router.adapters.rows_file import About, Rows, RowsFile
from stream_router.core.evidence import Positions

ABOUT = About(route="r", partition=3, positions=Positions(7, 9), topics={"r.predictions": "a", "r.ground-truth": "b"})
ARRAYS = {"row.key": np.arange(10, dtype=np.uint64).reshape(5, 2), "flags": np.zeros(0, np.uint8)}


@pytest.fixture
def file(tmp_path):
    return RowsFile(tmp_path, "r", 3)


def on_disk(tmp_path):
    (found,) = (tmp_path / "r").iterdir()
    return found


def test_what_is_written_is_read(file):
    assert file.read() is None
    file.write(Rows(ABOUT, ARRAYS))
    found = file.read()
    assert found.about == ABOUT
    assert found.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found.arrays[name].dtype == array.dtype
        assert np.array_equal(found.arrays[name], array)


def test_the_newest_takes_the_place_of_the_one_before_and_of_what_a_killed_process_left(file, tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "rows-3.77.half").write_bytes(b"half of it")
    file.write(Rows(ABOUT, ARRAYS))
    file.write(Rows(ABOUT, {}))
    assert file.read().arrays == {}
    assert on_disk(tmp_path).name == "rows-3.npz"


def test_a_damaged_file_is_said_and_nothing_of_it_is_used(file, tmp_path):
    file.write(Rows(ABOUT, ARRAYS))
    whole = on_disk(tmp_path).read_bytes()
    damaged = [whole[:length] for length in range(0, len(whole), 37)]
    damaged += [whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :] for at in range(0, len(whole), 7)]
    for content in damaged:
        on_disk(tmp_path).write_bytes(content)
        with capture_logs() as logs:
            found = file.read()
        if found is None:
            assert [entry["log_level"] for entry in logs] == ["warning"]
        else:  # a byte that says nothing, such as a date
            assert found.about == ABOUT
            assert all(np.array_equal(found.arrays[name], array) for name, array in ARRAYS.items())


def test_objects_are_never_loaded(file, tmp_path):
    file.write(Rows(ABOUT, ARRAYS))
    np.savez(on_disk(tmp_path), about=np.array([{"positions": [0, 0]}], object))
    assert file.read() is None
