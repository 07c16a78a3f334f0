"""Models from files: each format answers as the model that was saved, and names what is wrong with a file."""

import sys
from types import ModuleType

import numpy as np
import pytest

from stream_router.adapters.model import follows_versions, load_model
from stream_router.adapters.model_files import digest_of
from stream_router.errors import ModelError

ROWS = [{"distance": 100.0, "hour": 6.0}, {"distance": 2_000.0, "hour": 18.0}]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture(scope="module")
def flights():
    linear_model = pytest.importorskip("sklearn.linear_model")
    pandas = pytest.importorskip("pandas")
    inputs = pandas.DataFrame({"distance": [50.0, 100.0, 1_500.0, 3_000.0], "hour": [5.0, 6.0, 17.0, 20.0]})
    return linear_model.LogisticRegression(max_iter=1_000).fit(inputs, [False, False, True, True])


@pytest.fixture(scope="module")
def of_rows():
    """One that takes the rows themselves."""
    pipeline, features = pytest.importorskip("sklearn.pipeline"), pytest.importorskip("sklearn.feature_extraction")
    tree = pytest.importorskip("sklearn.tree")
    return pipeline.make_pipeline(features.DictVectorizer(), tree.DecisionTreeClassifier()).fit(ROWS, ["no", "late"])


def save_skops(folder, name, model):
    (folder / name).write_bytes(pytest.importorskip("skops.io").dumps(model))


def answers(model):
    return list(model.predict(ROWS))


def test_a_model_with_named_features_takes_them_by_name_whatever_else_a_request_has(folder, flights):
    save_skops(folder, "7.skops", flights)
    model = load_model("skops:models/{version}.skops", "7")
    rows = [{"hour": row["hour"], "request_id": "r", "distance": row["distance"]} for row in ROWS]
    assert list(model.predict(rows)) == [False, True]
    assert model.digest == digest_of([(folder / "7.skops").read_bytes()])


def test_a_model_without_named_features_takes_the_rows(folder, of_rows):
    save_skops(folder, "7.skops", of_rows)
    trusted = ["sklearn.tree._tree.Tree"]
    assert answers(load_model("skops:models/{version}.skops", "7", trusted=trusted)) == ["no", "late"]


def test_a_type_that_skops_does_not_trust_is_named(folder):
    save_skops(folder, "7.skops", Unknown())
    with pytest.raises(ModelError, match=r"does not trust by itself: .* --trust .*Unknown"):
        load_model("skops:models/{version}.skops", "7")


def test_a_pickle_is_loaded_by_permission_only(folder, flights):
    pytest.importorskip("joblib").dump(flights, folder / "7.joblib")
    with pytest.raises(ModelError, match="--allow-pickle"):
        load_model("joblib:models/{version}.joblib", "7")
    assert answers(load_model("joblib:models/{version}.joblib", "7", allow_pickle=True)) == [False, True]


def save_onnx(folder, model, types, features=""):
    onnx = pytest.importorskip("skl2onnx").to_onnx(model, initial_types=types)
    if features:
        onnx.metadata_props.add(key="features", value=features)
    (folder / "7.onnx").write_bytes(onnx.SerializeToString())


def test_an_onnx_model_takes_its_inputs_by_name_or_the_columns_that_its_metadata_names(folder, flights):
    pytest.importorskip("onnxruntime")
    tensors = pytest.importorskip("skl2onnx.common.data_types")
    one = tensors.FloatTensorType([None, 2])
    save_onnx(folder, flights, [("inputs", one)])
    with pytest.raises(ModelError, match=r"takes 2 columns as 'inputs'.*key 'features'"):
        load_model("onnx:models/{version}.onnx", "7")
    save_onnx(folder, flights, [("inputs", one)], "distance, hour")
    assert answers(load_model("onnx:models/{version}.onnx", "7")) == [False, True]


def test_an_onnx_model_of_several_inputs_takes_each_from_its_field(folder):
    pytest.importorskip("onnxruntime")
    helper, proto = pytest.importorskip("onnx.helper"), pytest.importorskip("onnx").TensorProto
    ends = [helper.make_tensor_value_info(name, proto.FLOAT, [None, 1]) for name in ("distance", "hour", "sum")]
    graph = helper.make_graph([helper.make_node("Add", ["distance", "hour"], ["sum"])], "sum", ends[:2], ends[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "7.onnx").write_bytes(model.SerializeToString())
    assert answers(load_model("onnx:models/{version}.onnx", "7")) == [106.0, 2_018.0]


def test_an_mlflow_model_is_loaded_from_what_was_downloaded_and_has_its_digest(folder, monkeypatch):
    """With a stand-in for MLflow, which is large."""
    pytest.importorskip("pandas")
    (folder / "MLmodel").write_text("flavors: {}")
    loaded = []
    mlflow, artifacts, pyfunc = (ModuleType(name) for name in ("mlflow", "mlflow.artifacts", "mlflow.pyfunc"))
    artifacts.download_artifacts = lambda *, artifact_uri: loaded.append(artifact_uri) or str(folder)
    pyfunc.load_model = lambda path: loaded.append(path) or Sums()
    for module in (mlflow, artifacts, pyfunc):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    model = load_model("mlflow:models:/fraud/{version}", "8")
    assert answers(model) == [106.0, 2_018.0]
    assert loaded == ["models:/fraud/8", str(folder)]
    assert model.digest == digest_of([b"MLmodel", b"flavors: {}"])


@pytest.mark.parametrize("version", ["../7", "a/b", "/etc/passwd", "..", ".7", "", "7\n", "-7"])
def test_a_version_leads_to_no_other_folder(version, folder):
    del folder
    with pytest.raises(ModelError, match="cannot take version"):
        load_model("skops:models/{version}.skops", version)


@pytest.mark.parametrize("scheme", ["skops", "onnx", "mlflow", "joblib"])
def test_a_missing_library_is_named_with_its_extra(scheme, monkeypatch, folder):
    (folder / "7").write_bytes(b"")
    for name in ("skops", "skops.io", "onnxruntime", "mlflow", "joblib"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModelError, match=rf"pip install 'stream-router\[{scheme}\]'"):
        load_model(f"{scheme}:models/{{version}}", "7", allow_pickle=True)


@pytest.mark.parametrize("scheme", ["skops", "onnx", "joblib"])
@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_a_file_that_is_no_model_is_named(scheme, content, folder):
    pytest.importorskip({"onnx": "onnxruntime"}.get(scheme, scheme))
    if content is not None:
        (folder / "7").write_bytes(content)
    with pytest.raises(ModelError, match=f"model {scheme}:models/7 cannot be loaded"):
        load_model(f"{scheme}:models/{{version}}", "7", allow_pickle=True)


def test_a_template_without_a_version_is_the_same_for_each():
    assert follows_versions("my_models:load")
    assert follows_versions("skops:models/{version}.skops")
    assert not follows_versions("skops:model.skops")


class Unknown:
    """Of a type that skops has never seen."""

    def predict(self, rows):
        return [0] * len(rows)


class Sums:
    def predict(self, frame):
        return np.array(frame.sum(axis=1))
