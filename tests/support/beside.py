"""A command that runs beside the tests and counts as one of them."""

import shlex
import subprocess
from pathlib import Path


class Beside:
    """A running command; its output is kept, so that it can be printed as one block."""

    def __init__(self, command: str, folder: Path) -> None:
        self.command = command
        self._output = folder / "beside"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                shlex.split(command), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    def succeeded(self) -> bool:
        """Whether it ended with 0; it is waited for."""
        return self._process.wait() == 0

    def output(self) -> str:
        return self._output.read_text(errors="replace")
