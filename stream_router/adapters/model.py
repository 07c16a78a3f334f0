"""The user's model: a loader `module:callable` or a file, for a version, as `predict(rows) -> predictions`."""

import importlib
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_router.adapters.model_files import SCHEMES, VERSION, load_artifact
from stream_router.core.scoring.asking import Predict
from stream_router.errors import ModelError


@dataclass(frozen=True)
class Model:
    """`digest` is that of the model's artifact: of its file, or what the loader returned has as attribute `digest`."""

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


def load_model(template: str, version: str, *, allow_pickle: bool = False, trusted: Collection[str] = ()) -> Model:
    """The model that the template names, with its `{version}` filled in.

    `module:callable`: a loader, also from the current directory, called with the version. `skops:FILE`, `onnx:FILE`,
    `joblib:FILE` (by permission: a pickle can run any code) and `mlflow:URI`: see model_files.py. Raises ModelError.
    """
    scheme, _, place = template.partition(":")
    if scheme in SCHEMES:
        return Model(version, *load_artifact(scheme, place, version, allow_pickle=allow_pickle, trusted=trusted))
    load = imported(template, "model", f"my_models:load, {', '.join(f'{known}:...' for known in SCHEMES)}")
    try:
        predict = load(version)
    except ModelError:
        raise
    except Exception as error:  # the loader is the user's code
        raise ModelError(f"{template}({version!r}) raised {type(error).__name__}: {error}") from error
    if not callable(predict):
        raise ModelError(
            f"{template}({version!r}) returned {type(predict).__name__}, not a callable: "
            "return predict(rows) that takes a list of rows and returns as many predictions",
        )
    digest = getattr(predict, "digest", None)
    return Model(version, predict, None if digest is None else str(digest))


def follows_versions(template: str) -> bool:
    """Whether the template names another model for another version."""
    return template.partition(":")[0] not in SCHEMES or VERSION in template
