"""Where the schemas and topics lie: inside the installed package, or at the top of a checkout."""

from pathlib import Path
from typing import Literal

import stream_router


def resource_folder(name: Literal["schemas", "topics"]) -> Path:
    package = Path(stream_router.__file__).parent
    installed = package / "_data" / name
    return installed if installed.is_dir() else package.parent / name
