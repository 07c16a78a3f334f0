"""A model in a process of its own: what it hangs in, crashes by or takes in memory is not the scoring job's."""

import marshal
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from stream_router.adapters.model_child import Load
from stream_router.core.scoring.asking import Row
from stream_router.core.scoring.model_output import ModelOutput, failed
from stream_router.errors import ModelError


@dataclass(frozen=True)
class Artifact:
    """Which models a job loads, as of load_model."""

    template: str
    allow_pickle: bool = False
    trusted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """`seconds` that the model took."""

    outputs: list[ModelOutput]
    seconds: float


class ModelProcess:
    """One version. Made and used in the main thread only: Linux ends it with the thread that made it.

    `digest` is known once it is loaded. One that is broken can only be killed.
    """

    def __init__(self, artifact: Artifact, version: str) -> None:
        self.version = version
        self.digest: str | None = None
        self.is_broken = False
        self._is_loaded, self._asked = False, 0
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "stream_router.adapters.model_child", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=sys.__stderr__,  # what a model prints is no part of the command's answer
                start_new_session=True,
            )
        self._connection = Connection(ours.detach())
        self._send(Load(artifact.template, version, artifact.allow_pickle, artifact.trusted, sys.path, os.getpid()))

    def loaded(self, wait: float) -> bool:
        """Whether it can be asked; waits so many seconds. Raises ModelError where the model cannot be loaded."""
        if not self._is_loaded and self._connection.poll(wait):
            try:
                self.digest, error = marshal.loads(self._connection.recv_bytes())  # noqa: S302 - of our own child
            except (EOFError, OSError):
                error = f"the process that loads the model {self._end()}"
            if error is not None:
                raise ModelError(error)
            self._is_loaded = True
        return self._is_loaded

    def ask(self, rows: Sequence[Row]) -> None:
        """Begin a batch; each waits for the answer of the one before it."""
        self._asked = len(rows)
        self._send(rows)

    def answer(self, wait: float) -> Answer | None:
        """None where there is none yet; waits so many seconds. Where the model's process has died, errors."""
        if not self._connection.poll(wait):
            return None
        try:
            values, errors, seconds = marshal.loads(self._connection.recv_bytes())  # noqa: S302 - of our own child
        except (EOFError, OSError):
            return self.failed(f"the model's process {self._end()}")
        return Answer([ModelOutput(value, errors.get(place)) for place, value in enumerate(values)], seconds)

    def failed(self, why: str, seconds: float = 0.0) -> Answer:
        """The batch that was asked, answered by one error; this process answers no more."""
        self.is_broken = True
        return Answer([failed(why)] * self._asked, seconds)

    def kill(self) -> None:
        """End it and what it has started, whatever it does."""
        self.is_broken = True
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._connection.close()

    def _send(self, message: object) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the answer will tell
            self._connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))

    def _end(self) -> str:
        """How it ended: it has closed its side."""
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "has closed its connection"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
