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


def load_model(loader: str, version: str) -> Model:
    """Import the loader, also from the current directory, and call it. Raises ModelError."""
    module_name, colon, name = loader.partition(":")
    if not (module_name and colon and name):
        raise ModelError(f"model {loader!r} is not module:callable, such as my_models:load")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        load = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"model {loader!r} cannot be imported: {error}") from error
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
