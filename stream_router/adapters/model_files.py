"""Models from files: skops, onnx, mlflow and, by permission, joblib. Their libraries are extras, imported when used."""

import hashlib
import io
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from stream_router.core.scoring.asking import Predict, Row
from stream_router.errors import ModelError

SCHEMES: Final = ("skops", "onnx", "mlflow", "joblib")
VERSION: Final = "{version}"
_VERSION: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_DIGITS: Final = 12
"""Of a SHA-256 in hexadecimal, as a split's digest has."""


def load_artifact(
    scheme: str, place: str, version: str, *, allow_pickle: bool, trusted: Collection[str]
) -> tuple[Predict, str]:
    """What predicts, and the digest of the bytes that it was loaded from. Raises ModelError.

    trusted: types that skops may load beside those that it trusts by itself.

    A version can come from Redis, so it may not lead to another folder.
    """
    named = f"model {scheme}:{place}"
    if not place:
        raise ModelError(
            f"{named} names no file: write it behind the colon, such as {scheme}:models/{VERSION}.{scheme}"
        )
    if VERSION in place and not _VERSION.fullmatch(version):
        raise ModelError(
            f"{named} cannot take version {version!r}: a file's version is letters, digits, '.', '_' and '-', and does "
            "not begin with '.' or '-'"
        )
    if scheme == "joblib" and not allow_pickle:
        raise ModelError(
            f"{named} is a pickle, which can run any code as it is loaded: give --allow-pickle if you trust whoever "
            "can write the file, or save the model with skops"
        )
    place = place.replace(VERSION, version)
    try:
        return _skops(place, trusted) if scheme == "skops" else _LOADERS[scheme](place)
    except ModelError:
        raise
    except Exception as error:  # the libraries', and the file's
        raise ModelError(f"model {scheme}:{place} cannot be loaded: {type(error).__name__}: {error}") from error


def digest_of(contents: Iterable[bytes]) -> str:
    """Of one file, or of several one after the other."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return digest.hexdigest()[:_DIGITS]


def _skops(place: str, trusted: Collection[str]) -> tuple[Predict, str]:
    skops, content = _library("skops", "skops.io"), Path(place).read_bytes()
    if unknown := sorted(set(skops.get_untrusted_types(data=content)) - set(trusted)):
        raise ModelError(
            f"model skops:{place} holds types that skops does not trust by itself: if you do, give "
            f"{' '.join(f'--trust {name}' for name in unknown)}"
        )
    return _rows_as_columns(skops.loads(content, trusted=list(trusted))), digest_of([content])


def _joblib(place: str) -> tuple[Predict, str]:
    joblib, content = _library("joblib", "joblib"), Path(place).read_bytes()
    return _rows_as_columns(joblib.load(io.BytesIO(content))), digest_of([content])


def _onnx(place: str) -> tuple[Predict, str]:
    """The first output is the prediction. Each input of the model is a field of the rows; a single one that has several
    columns takes the fields that the model's metadata `features` names, with commas.
    """
    runtime, content = _library("onnx", "onnxruntime"), Path(place).read_bytes()
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    inputs, output = session.get_inputs(), session.get_outputs()[0].name
    features = session.get_modelmeta().custom_metadata_map.get("features", "")
    names = [name.strip() for name in features.split(",")] if features else []
    if len(inputs) == 1 and not names and len(inputs[0].shape) > 1 and inputs[0].shape[1] != 1:
        raise ModelError(
            f"model onnx:{place} takes {inputs[0].shape[1]} columns as {inputs[0].name!r}, and does not say which "
            "fields of a request they are: name them in its metadata, key 'features', in their order, with commas"
        )
    import numpy as np  # noqa: PLC0415 - the others do without

    def predict(rows: list[Row]) -> Sequence[Any]:
        if names:
            columns = [[row[name] for name in names] for row in rows]
            given = {inputs[0].name: np.array(columns, _numpy_type(inputs[0].type))}
        else:
            given = {
                at.name: np.array([row[at.name] for row in rows], _numpy_type(at.type)).reshape(
                    len(rows), *at.shape[1:2]
                )
                for at in inputs
            }
        (answers,) = session.run([output], given)
        return answers.reshape(len(rows)) if getattr(answers, "size", None) == len(rows) else answers  # type: ignore[no-any-return]

    return predict, digest_of([content])


def _numpy_type(onnx_type: str) -> str:
    """Of `tensor(float)` and its like."""
    inner = onnx_type.partition("(")[2].rstrip(")")
    return {"float": "float32", "double": "float64", "string": "object", "bool": "bool"}.get(inner, inner)


def _mlflow(place: str) -> tuple[Predict, str]:
    """By MLflow's own pyfunc, which takes a data frame; `place` is any URI of a model that MLflow knows."""
    mlflow = _library("mlflow", "mlflow")
    folder = Path(import_module("mlflow.artifacts").download_artifacts(artifact_uri=place))
    files = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    digest = digest_of(part for path in files for part in (str(path.relative_to(folder)).encode(), path.read_bytes()))
    model, frame = (
        import_module(f"{mlflow.__name__}.pyfunc").load_model(str(folder)),
        _library("mlflow", "pandas").DataFrame,
    )
    return lambda rows: model.predict(frame(rows)), digest


def _rows_as_columns(model: Any) -> Predict:
    """A scikit-learn model that knows its features by name gets these, as a data frame; another one the rows."""
    names = getattr(model, "feature_names_in_", None)
    if not callable(getattr(model, "predict", None)):
        raise ModelError(f"the file holds a {type(model).__name__}, which has no method predict")
    if names is None:
        return model.predict  # type: ignore[no-any-return]
    columns, frame = list(names), _library("skops", "pandas").DataFrame
    return lambda rows: model.predict(frame(rows, columns=columns))


def _library(extra: str, name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ModelError(
            f"{extra} models need the package {name.partition('.')[0]}: pip install 'stream-router[{extra}]' ({error})"
        ) from error


_LOADERS: Final[dict[str, Callable[[str], tuple[Predict, str]]]] = {
    "onnx": _onnx,
    "mlflow": _mlflow,
    "joblib": _joblib,
}
