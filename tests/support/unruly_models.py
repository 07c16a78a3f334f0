"""Models that harm, for tests; each version is one way."""

import os
import re
import signal
import time


def load(version):
    """What the version says, at x = 13: hang, hang with the interpreter's lock, crash, be killed; else x."""
    if version == "does-not-load":
        raise ValueError("no such weights")
    if version == "crashes-while-loading":
        os.kill(os.getpid(), signal.SIGSEGV)

    def predict(rows):
        if any(row["x"] == 13 for row in rows):
            _harm(version)
        return [row["x"] for row in rows]

    predict.digest = f"digest of {version}"
    return predict


def _harm(version):
    if version == "hangs":
        time.sleep(3_600)
    elif version == "hangs-in-c":
        re.match(r"(a+)+$", "a" * 40 + "b")  # exponential, and no other thread runs meanwhile
    elif version == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif version == "exits":
        os._exit(3)
    elif version == "prints":
        print("a model's own line")  # noqa: T201
