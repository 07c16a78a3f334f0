"""quixstreams in a virtual environment of its own, in the user's cache: this project's stays without."""

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


def quix_command(script: str, *arguments: str) -> list[str]:
    """Runs a script of this folder with quixstreams, which has to be there."""
    return [str(_python(ENVIRONMENT)), str(Path(__file__).with_name(script)), *arguments]


def quix_is_missing(environment: Path = ENVIRONMENT) -> str | None:
    """Why it cannot run here; None where it can. Makes the environment where it is not there."""
    whole = environment / "whole"
    if not whole.exists():
        for step in _steps(environment):
            if reason := _failure(step):
                return f"`{' '.join(step)}` {reason}"
        whole.touch()
    return None


def _python(environment: Path) -> Path:
    return environment / "bin" / "python"


def _steps(environment: Path) -> list[list[str]]:
    """With uv where it is on the path or where `make setup` puts it, else with what Python brings."""
    python = _python(environment)
    beside = Path(sys.executable).with_name("uv")
    if uv := shutil.which("uv") or (str(beside) if beside.exists() else None):
        make = [uv, "venv", "--clear", "--python", sys.executable, str(environment)]
        install = [uv, "pip", "install", "--python", str(python)]
    else:
        make = [sys.executable, "-m", "venv", "--clear", str(environment)]
        install = [str(python), "-m", "pip", "install"]
    return [make, [*install, f"quixstreams=={VERSION}"], [str(python), "-c", "import quixstreams"]]


def _failure(step: list[str]) -> str | None:
    try:
        subprocess.run(step, check=True, capture_output=True, text=True, timeout=_ALLOWED)
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or "nothing").splitlines()[-1]
        return f"ended with {error.returncode} and said {last!r}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"failed: {error}"
    return None
