"""The user's model: a loader `module:callable` that takes a version and returns `predict(rows) -> predictions`."""

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_router.errors import ModelError

Row = dict[str, Any]
Predict = Callable[[list[Row]], Sequence[Any]]


@dataclass(frozen=True)
class Model:
    """`digest` is that of the model's artifact, where what the loader returned has an attribute `digest`."""

    version: str
    predict: Predict
    digest: str | None


def imported(path: str, what: str, such_as: str) -> Any:
    """`module:callable` of the user's, also from the current directory. `what`, `such_as`: what it is, and an example.

    Raises ModelError.
    """
    module_name, colon, name = path.partition(":")
    if not (module_name and colon and name):
        raise ModelError(f"{what} {path!r} is not module:callable, such as {such_as}")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"{what} {path!r} cannot be imported: {error}") from error


def load_model(loader: str, version: str) -> Model:
    """Import the loader, also from the current directory, and call it. Raises ModelError."""
    load = imported(loader, "model", "my_models:load")
    try:
        predict = load(version)
    except ModelError:
        raise
    except Exception as error:  # the loader is the user's code
        raise ModelError(f"{loader}({version!r}) raised {type(error).__name__}: {error}") from error
    if not callable(predict):
        raise ModelError(
            f"{loader}({version!r}) returned {type(predict).__name__}, not a callable: "
            "return predict(rows) that takes a list of rows and returns as many predictions",
        )
    digest = getattr(predict, "digest", None)
    return Model(version, predict, None if digest is None else str(digest))
