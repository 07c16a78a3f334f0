"""`make` sets everything up from nothing, from half of it, and with a Python that has not all it needs."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
MAKE = shutil.which("make") or "make"
ASKED = "sync --frozen --inexact --extra dev"

pytestmark = pytest.mark.skipif(not shutil.which(MAKE), reason="needs make")


@pytest.fixture
def checkout(tmp_path):
    """What `make setup` reads."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "uv.lock"):
        shutil.copy(CHECKOUT / name, folder)
    return folder


@pytest.fixture
def make(checkout, tmp_path):
    """Runs `make setup` where there is no uv, and pip finds one that notes what it is asked for and does nothing."""
    packages, tools = tmp_path / "packages", tmp_path / "tools"
    packages.mkdir()
    tools.mkdir()
    with zipfile.ZipFile(packages / "uv-1-py3-none-any.whl", "w") as wheel:
        about = "uv-1.dist-info"
        wheel.writestr(
            "uv.py", "import pathlib, sys\ndef main(): pathlib.Path('asked').write_text(' '.join(sys.argv[1:]))"
        )
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: uv\nVersion: 1\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/entry_points.txt", "[console_scripts]\nuv = uv:main\n")
        wheel.writestr(f"{about}/RECORD", "")
    for tool in ("sh", "touch", "rm", "mkdir"):
        (tools / tool).symlink_to(shutil.which(tool))
    environment = {
        "PATH": str(tools),
        "HOME": str(tmp_path),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(packages),
        "PYTHON": sys.base_prefix + "/bin/python3",
    }

    def run(**changes):
        return subprocess.run(
            [MAKE, "setup"],
            check=False,
            capture_output=True,
            text=True,
            cwd=checkout,
            env=environment | changes,
        )

    return run


def without_ensurepip(folder):
    """The environment of a Python that cannot import it, as on Debian without python3-venv."""
    folder.mkdir()
    (folder / "ensurepip.py").write_text("raise ModuleNotFoundError('No module named ensurepip', name='ensurepip')")
    return {"PYTHONPATH": str(folder)}


def test_without_ensurepip_it_says_what_to_install_and_leaves_nothing(make, checkout, tmp_path):
    failed = make(**without_ensurepip(tmp_path / "hidden"))
    assert failed.returncode
    assert "no ensurepip: install uv, or the rest of this Python" in failed.stderr
    assert "apt install python3-venv" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (checkout / ".venv").exists()
    mended = make()
    assert mended.returncode == 0, mended.stderr
    assert (checkout / "asked").read_text() == ASKED
    (checkout / "asked").unlink()
    assert make().returncode == 0
    assert not (checkout / "asked").exists(), "what is set up is left alone"


@pytest.fixture(params=["without pip", "without its Python"])
def half(request, checkout):
    """Half an environment."""
    folder = checkout / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    if request.param == "without its Python":
        for python in (folder / "bin").glob("python*"):
            python.unlink()
            python.symlink_to("/nowhere/python3")
    return folder


@pytest.mark.usefixtures("half")
def test_half_an_environment_is_made_anew(make, checkout):
    made = make()
    assert made.returncode == 0, made.stderr
    assert (checkout / "asked").read_text() == ASKED


def test_an_environment_whose_making_fails_is_not_left(make, checkout, tmp_path):
    """As where ensurepip is there but its wheels are not."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\n[ "$1" = -m ] || exec {sys.executable} "$@"\n{sys.executable} -m venv --without-pip .venv; exit 1'
    )
    python.chmod(0o755)
    assert make(PYTHON=str(python)).returncode
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("half", ["without its Python"], indirect=True)
def test_uv_is_given_no_environment_that_does_not_run(make, half, tmp_path):
    uv = tmp_path / "tools" / "uv"
    uv.write_text("#!/bin/sh\n[ $1 = --version ] || { [ ! -e .venv ] && mkdir .venv; }")
    uv.chmod(0o755)
    made = make()
    assert made.returncode == 0, made.stderr
    assert not (half / "bin").exists()
