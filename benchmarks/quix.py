"""quixstreams in a virtual environment of its own, in the user's cache: this project's own environment stays without."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

VERSION: Final = "3.28.1"
_CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stream-router"
ENVIRONMENT: Final = _CACHE / f"quixstreams-{VERSION}-python{sys.version_info[0]}.{sys.version_info[1]}"

_ALLOWED: Final = 300.0
"""Seconds for each step of its installation."""


class NotInstalledError(Exception):
    """It cannot be installed here; says why."""


def quix_python(environment: Path = ENVIRONMENT) -> Path:
    """The interpreter of that environment, which is made where it is not there. Raises NotInstalledError."""
    python, whole = environment / "bin" / "python", environment / "whole"
    if not whole.exists():
        for step in _steps(environment, python):
            _run(step)
        whole.touch()
    return python


def _steps(environment: Path, python: Path) -> list[list[str]]:
    """With uv where it is on the path or where `make setup` puts it, else with what Python brings."""
    beside = Path(sys.executable).with_name("uv")
    if uv := shutil.which("uv") or (str(beside) if beside.exists() else None):
        make = [uv, "venv", "--clear", "--python", sys.executable, str(environment)]
        install = [uv, "pip", "install", "--python", str(python)]
    else:
        make = [sys.executable, "-m", "venv", "--clear", str(environment)]
        install = [str(python), "-m", "pip", "install"]
    return [make, [*install, f"quixstreams=={VERSION}"], [str(python), "-c", "import quixstreams"]]


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_ALLOWED)
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or "nothing").splitlines()[-1]
        raise NotInstalledError(f"`{' '.join(command)}` ended with {error.returncode} and said {last!r}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalledError(f"`{' '.join(command)}` failed: {error}") from error
