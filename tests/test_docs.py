"""The pages: their generated parts are up to date, the paths and links in them exist, their examples run."""

import ast
import importlib.util
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import confluent_kafka
import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Metric

from stream_router.adapters.avro.labels import decode_label
from stream_router.core.policy import LimitName, MetricName, Policy
from stream_router.errors import SettingError
from stream_router.policies.policy_file import PolicyFile
from stream_router.policies.reading import parse_policy
from stream_router.settings import RouteSettings, load_settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]
OF_USERS = {"stream-router.toml", "policy.yaml", "my_models.py"}
"""Files that pages name and that a user writes."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"[\w.*-]+(/[\w.*-]+)*/?")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SUFFIXES = (".py", ".lua", ".md", ".yaml", ".yml", ".avsc", ".toml", ".json", ".lock")


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_generated_parts_are_up_to_date(generate: ModuleType) -> None:
    assert names(generate.outdated()) == [], "run python docs/generate.py"


def test_a_changed_description_is_found(
    generate: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(RouteSettings.model_fields["window"], "description", "Another description.")
    assert names(generate.outdated()) == ["docs/reference.md", "README.md"]
    assert generate.main(["--check"]) == 1
    assert "README.md is out of date" in capsys.readouterr().out


def test_the_reference_has_every_metric_that_is_served(generate: ModuleType) -> None:
    served = {f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in metrics_of(REGISTRY)}
    told = {metric.name for metric in generate.metrics_served()}
    assert told == served
    assert all(f"| `{name}` |" in generate.reference() for name in told)


def metrics_of(registry: CollectorRegistry) -> list[Metric]:
    return [metric for metric in registry.collect() if metric.name.startswith("stream_router_")]


def test_an_error_that_its_tree_tells_wrongly_is_found(generate: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SettingError, "exit_code", 3)
    with pytest.raises(ValueError, match="wrong about SettingError"):
        generate.reference()


def test_a_key_that_the_reference_does_not_know_is_found(generate: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "get_args", lambda _: ("split", "crew"))
    with pytest.raises(ValueError, match="crew"):
        generate.redis_keys()


def test_a_readme_without_the_marks_is_refused(generate: ModuleType) -> None:
    text = (ROOT / "README.md").read_text()
    for name in ("Redis keys", "settings"):
        with pytest.raises(ValueError, match=f"end of {name}"):
            generate.readme(text.replace(f"<!-- end of {name} -->", ""))


def test_the_defaults_of_the_policy_are_those_of_the_settings() -> None:
    assert PolicyFile().to_policy(RouteSettings().to_policy()) == Policy()


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_named_paths_exist(page: Path) -> None:
    """In docs/ a path with a folder is that from the top; elsewhere its end is enough."""
    known = set(_tree())
    ends = {end for path in known for end in _ends(path)}
    missing = []
    for token in set(_paths_in(page)) - OF_USERS:
        found = known if page.parent.name == "docs" and "/" in token.rstrip("/") else ends
        pattern = re.compile(re.escape(token.rstrip("/")).replace(r"\*", "[^/]*"))
        if not any(map(pattern.fullmatch, found)):
            missing.append(token)
    assert sorted(missing) == []


def test_a_path_that_is_not_there_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`core/gone.py`, `gone.lua`, `core/` and `R.requests`\n```\n`in/a/fence.py`\n```\n")
    assert list(_paths_in(page)) == ["core/gone.py", "gone.lua", "core/"]


def test_the_architecture_names_every_room() -> None:
    """Folders, and the modules that stand beside folders."""
    package, tests = ROOT / "stream_router", ROOT / "tests"
    rooms = [ROOT / name for name in ("benchmarks", "docs", "schemas", "topics")]
    for house in (package, package / "core", package / "adapters", tests):
        rooms += [room for room in house.iterdir() if room.is_dir() and not room.name.startswith("__")]
    for house in (package, package / "core"):
        rooms += [file for file in house.glob("*.py") if not file.name.startswith("__")]
    named = {name.rstrip("/") for name in _paths_in(ROOT / "ARCHITECTURE.md")}
    assert [name for name in sorted(names(rooms)) if not named.intersection(_ends(name))] == []


def test_the_way_of_one_request_meets_each_file_once() -> None:
    steps = re.findall(r"^(\d+)\. `([^`]+)`", _way_of_one_request(), re.MULTILINE)
    assert [int(number) for number, _ in steps] == list(range(1, len(steps) + 1))
    assert len({file for _, file in steps}) == len(steps)


def test_every_file_that_a_request_can_pass_is_a_step_or_named_as_none() -> None:
    """All that the processes of a request import."""
    processes = {ROOT / "stream_router" / "processes" / f"{name}.py" for name in ("route", "score", "monitor")}
    named = set(_INLINE.findall(_way_of_one_request()))
    assert sorted({*names([*_imported_by(processes)])} - named) == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md"], ids=page_id)
def test_relative_links_resolve(page: Path) -> None:
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        file, _, heading = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        target = page.parent / file if file else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not heading or heading in _headings(target), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_examples_compile(page: Path) -> None:
    for number, code in enumerate(_blocks(page, "python")):
        if page.name != "reference.md":  # signatures
            compile(code, f"{page.name}, block {number}", "exec")


@pytest.mark.parametrize("name", ["testing.md", "partitioner.md"])
def test_python_examples_run(name: str) -> None:
    namespace = _run(ROOT / "docs" / name)
    tests = [found for test, found in namespace.items() if test.startswith("test_")]
    assert tests or name != "testing.md"
    for test in tests:
        test()


def test_the_store_of_the_example_reads_what_the_script_writes() -> None:
    class Client:
        def __init__(self) -> None:
            self.split = b""

        def set(self, key: str, raw: bytes) -> None:
            assert key == "stream_router:{flights}:split"
            self.split = raw

        def hgetall(self, key: str) -> dict[bytes, bytes]:
            fields = {b"raw": self.split, b"epoch": b"4", b"rollout": b"2"}
            return fields if key == "stream_router:{flights}:applied" else {}

    example = _run(ROOT / "docs" / "testing.md")
    store = example["RedisStore"](Client(), "flights")
    assert example["answer"](store, example["ship"](store, 0.2)) == "in force: rollout 2, epoch 4"


def test_the_readme_producer_writes_a_request_and_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[dict[str, str], str, bytes, str]] = []

    class Producer:
        def __init__(self, config: dict[str, str]) -> None:
            self.config = config

        def produce(self, topic: str, value: bytes, key: str) -> None:
            sent.append((self.config, topic, value, key))

        def flush(self) -> None:
            pass

    monkeypatch.setattr(confluent_kafka, "Producer", Producer)
    [code] = [code for code in _blocks(ROOT / "README.md", "python") if "encode_label" in code]
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own example
    (_, request_topic, request, _), (config, topic, value, key) = sent
    label = decode_label(value, 0, 0)
    assert (topic, key, config["partitioner"]) == ("flights.ground-truth", label.request_id, "murmur2_random")
    assert request_topic == "flights.requests"
    row = json.loads(request)
    assert row["request_id"] == label.request_id
    assert {"distance", "delay"} <= row.keys(), "what the README's model reads"


def test_the_toml_example_is_read(tmp_path: Path) -> None:
    [text] = _blocks(ROOT / "README.md", "toml")
    file = tmp_path / "stream-router.toml"
    file.write_text(text)
    settings = load_settings(file)
    assert str(settings.policy) == tomllib.loads(text)["policy"]
    assert settings.route.label_horizon == 3600


def test_the_policy_of_the_example_is_read() -> None:
    [text] = _blocks(ROOT / "docs" / "concepts.md", "yaml")
    policy = parse_policy(text.encode(), Policy())
    assert isinstance(policy, Policy)
    assert (policy.metric("accuracy").margin, policy.metric("accuracy").weight) == (0.01, 0.6)
    assert policy.metric("latency_p99").role == "guardrail"
    assert [limit.metric for limit in policy.limits] == ["error_rate", "latency_p99", "accuracy_drop"]


def test_every_metric_and_limit_is_told() -> None:
    text = (ROOT / "docs" / "concepts.md").read_text()
    told = text.partition("\n## Metrics and limits\n")[2].partition("\n## ")[0]
    assert {*get_args(MetricName), *get_args(LimitName)} <= set(_INLINE.findall(told))


def _way_of_one_request() -> str:
    text = (ROOT / "docs" / "concepts.md").read_text()
    return text.partition("## The way of one request")[2].partition("\n## ")[0]


def _imported_by(files: set[Path]) -> set[Path]:
    """The files, and all of ours that they import, and that these import."""
    found: set[Path] = set()
    while files:
        found |= files
        modules = {module for file in files for module in _imports(ast.parse(file.read_text()))}
        paths = {ROOT / f"{module.replace('.', '/')}.py" for module in modules if module.startswith("stream_router")}
        files = {path for path in paths if path.exists()} - found
    return found


def _imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names that may be modules: of `from a import b` both a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{name.name}" for name in node.names))


def _blocks(page: Path, language: str) -> list[str]:
    return [code for found, code in _FENCE.findall(page.read_text()) if found == language]


def _run(page: Path) -> dict[str, Any]:
    """The page's blocks, one after the other, in one namespace."""
    namespace: dict[str, Any] = {"__name__": "example"}
    for number, code in enumerate(_blocks(page, "python")):
        exec(compile(code, f"{page.name}, block {number}", "exec"), namespace)  # noqa: S102 - our own examples
    return namespace


def _paths_in(page: Path) -> Iterator[str]:
    """What stands in backticks and looks like a path of this repository."""
    for token in _INLINE.findall(_FENCE.sub("", page.read_text())):
        if _PATH.fullmatch(token) and ("/" in token or token.endswith(_SUFFIXES)):
            yield token


def _tree() -> Iterator[str]:
    """Every file and folder, but for hidden ones at the top."""
    for top in ROOT.iterdir():
        if top.name.startswith(".") or top.name in ("dist", "__pycache__"):
            continue
        for path in (top, *(top.rglob("*") if top.is_dir() else ())):
            yield path.relative_to(ROOT).as_posix()


def _ends(path: str) -> Iterator[str]:
    """`c.py` and `b/c.py` of `a/b/c.py`, and itself."""
    parts = path.split("/")
    return ("/".join(parts[first:]) for first in range(len(parts)))


def _headings(page: Path) -> set[str]:
    """As GitHub makes anchors of them."""
    lines = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}
