"""Where the schemas and topics lie: inside the installed package, or at the top of a checkout."""

from pathlib import Path
from typing import Final, Literal

_PACKAGE: Final = Path(__file__).parents[1]


def resource_folder(name: Literal["schemas", "topics"]) -> Path:
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
