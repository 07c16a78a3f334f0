"""The wheel works outside a checkout."""

import ast
import importlib
import inspect
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import stream_router
from stream_router import testing
from stream_router.core.routing.split_store import SplitStore
from stream_router.testing.rules import Keys

CHECKOUT = Path(__file__).parents[1]
_WHERE = "from stream_router.adapters.resources import resource_folder as f; print(f('schemas'), f('topics'))"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the contents of the built wheel."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        pytest.skip("uv, which builds the wheel, is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    command = [uv, "build", "--quiet", "--wheel", "--out-dir", str(folder), str(CHECKOUT)]
    built = subprocess.run(command, check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_carries_every_schema_and_topic(installed):
    for name in ("schemas", "topics"):
        here = {file.relative_to(CHECKOUT / name) for file in (CHECKOUT / name).rglob("*") if file.is_file()}
        there = installed / "stream_router" / "_data" / name
        assert {file.relative_to(there) for file in there.rglob("*") if file.is_file()} == here


def test_the_installed_package_reads_its_own(installed, tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(installed)!r}); {_WHERE}"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    data = installed / "stream_router" / "_data"
    assert found.stdout.split() == [str(data / "schemas"), str(data / "topics")]


def test_the_wheel_carries_code_that_is_not_python(installed):
    here = {file.name for file in (CHECKOUT / "stream_router").rglob("*.lua")}
    assert {file.name for file in installed.rglob("*.lua")} == here


def test_what_is_public_is_named_alike_to_tools_to_readers_and_to_the_import():
    tree = ast.parse(Path(stream_router.__file__).read_text())
    imported = {
        name.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("stream_router.")
        for name in node.names
    }
    modules = stream_router._MODULES  # noqa: SLF001 - the import's own list
    lazy = {name: f"stream_router.{module}" for module, names in modules.items() for name in names}
    assert imported == lazy
    assert sorted([*lazy, "__version__"]) == stream_router.__all__
    for name, module in lazy.items():
        assert getattr(stream_router, name) is getattr(importlib.import_module(module), name)


def test_what_the_fake_takes_and_returns_is_public():
    methods = [method for name, method in vars(testing.FakeSplitStore).items() if not name.startswith("_")]
    annotated = [hint for method in methods for hint in get_type_hints(method).values()]
    annotated += [*get_type_hints(testing.call_until_read).values(), *get_type_hints(Keys).values()]
    public = {getattr(module, name) for module in (stream_router, testing) for name in module.__all__}
    ours = {part for hint in annotated for part in (hint, *get_args(hint)) if "stream_router" in str(part)}
    assert {part for part in ours if inspect.isclass(part)} <= public | {SplitStore}  # a protocol


def test_the_wheel_is_typed(installed):
    assert (installed / "stream_router" / "py.typed").is_file()
