"""What runs in a model's process: loads the model, then answers one batch after the other.

Messages on its connection: first a Load, answered by a digest or an error; then batches of rows, each answered by
values, errors by place, and seconds. Answers are marshalled, so that nothing of the user's is unpacked in the job.
"""

import ctypes
import marshal
import os
import pickle
import signal
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Final, NamedTuple

from stream_router.adapters.model import load_model
from stream_router.core.scoring.asking import ask
from stream_router.core.scoring.model_output import writable
from stream_router.errors import ModelError

_PR_SET_PDEATHSIG: Final = 1
"""As in Linux's sys/prctl.h."""


class Load(NamedTuple):
    """As of load_model; `path` is the scoring job's sys.path, `parent` its process id."""

    template: str
    version: str
    allow_pickle: bool
    trusted: tuple[str, ...]
    path: list[str]
    parent: int


def main(descriptor: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # the scoring job decides when its model ends
        signal.signal(number, signal.SIG_IGN)
    with Connection(descriptor) as connection, suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _serve(connection)
    os._exit(0)  # threads of a library must not keep a process that nobody asks any more


def _serve(connection: Connection) -> None:
    load: Load = pickle.loads(connection.recv_bytes())  # noqa: S301 - of the scoring job
    _end_with(load.parent)
    sys.path[:] = load.path
    try:
        model = load_model(load.template, load.version, allow_pickle=load.allow_pickle, trusted=load.trusted)
    except ModelError as error:
        connection.send_bytes(marshal.dumps((None, writable(str(error)))))
        return
    connection.send_bytes(marshal.dumps((model.digest, None)))
    while True:
        rows = pickle.loads(connection.recv_bytes())  # noqa: S301 - of the scoring job
        begun = time.perf_counter()
        outputs = ask(model.predict, rows)
        seconds = time.perf_counter() - begun
        values = [output.value for output in outputs]
        errors = {place: output.error for place, output in enumerate(outputs) if output.error is not None}
        connection.send_bytes(marshal.dumps((values, errors, seconds)))


def _end_with(parent: int) -> None:
    """A model that hangs would else outlive a scoring job that was killed; where the system cannot do it, it does."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
