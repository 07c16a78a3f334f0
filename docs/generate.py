"""Write docs/reference.md, and the tables of Redis keys and of settings in README.md, from the code.

python docs/generate.py           writes both
python docs/generate.py --check   writes nothing; exit code 1 and one line for each file that is out of date

Settings come from the fields of stream_router/settings.py, those of policy files from stream_router/policies/, flags
from the commands, exit codes from stream_router/errors.py, metrics from stream_router/adapters/metrics.py, the API from
the sources of what `__all__` names.
"""

import argparse
import ast
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin

import click
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import stream_router
from stream_router import errors, testing
from stream_router.adapters import metrics
from stream_router.adapters.redis.fields import UNKNOWN_IN_MODELS, applied_to_fields, status_to_fields
from stream_router.cli import main as command_line
from stream_router.cli.group import INTERRUPTED
from stream_router.core.durations import duration_of
from stream_router.core.policy import METRICS
from stream_router.core.rollout.status import MetricStatus, RolloutStatus, StatusStore, TrialStatus
from stream_router.core.route import RedisKey, Route
from stream_router.core.routing.applied_split import INITIAL_SPLIT, Models
from stream_router.core.routing.router_status import RouterStatus
from stream_router.core.routing.split_store import Latch, Refusal, SplitStore
from stream_router.core.scoring.job import STALE_AFTER, JobState, JobStatus
from stream_router.errors import StreamRouterError
from stream_router.policies.policy_file import LimitSettings, MetricSettings, PolicyFile, StepSettings
from stream_router.policies.rules import Duration, Ratio
from stream_router.settings import PREFIX, Settings

ROOT: Final = Path(__file__).resolve().parent.parent
BEGIN: Final = "<!-- {}: written by docs/generate.py -->"
END: Final = "<!-- end of {} -->"
"""Around each generated table of README.md."""

DOCUMENTED_BY: Final[dict[str, tuple[type, ...]]] = {"FakeSplitStore": (SplitStore, StatusStore)}
"""Protocols that hold the docstrings of a class's methods."""

KINDS: Final[dict[Any, str]] = {Duration: "duration", Ratio: "ratio"}
"""Annotations that have a name of their own."""

HISTORY_FIELDS: Final = ("what", "why", "raw", "epoch", "time", "who")


class Key(NamedTuple):
    """One Redis key; its name is checked against core/route.py."""

    type: str
    writers: str
    meaning: str
    fields: tuple[str, ...] = ()


class Source(NamedTuple):
    """A class or a function in the lines of its module."""

    node: Any
    lines: Sequence[str]


class Metric(NamedTuple):
    """One metric of Prometheus; `processes` are the commands that serve it."""

    name: str
    type: str
    labels: Sequence[str]
    meaning: str
    processes: str


class Setting(NamedTuple):
    """One setting; `path` is its place in the TOML file, with dots."""

    path: str
    field: FieldInfo


# What there is.


def settings() -> Iterator[Setting]:
    """Every setting, in the order of the code; a nested model brings its fields."""
    for name, field in Settings.model_fields.items():
        model = _model_of(field)
        if model is None:
            yield Setting(name, field)
        else:
            yield from (Setting(f"{name}.{inner}", content) for inner, content in model.model_fields.items())


def redis_keys() -> dict[str, Key]:
    """Every key of a route. Raises ValueError where core/route.py knows others."""
    metric = _blank(MetricStatus, name="<name>", sentence="")
    status = _blank(RolloutStatus, trial=_blank(TrialStatus), metrics=(metric,), holds=(), limits=(), waits=())
    keys = {
        "split": Key("string", "people, the script", "The operator's proposal: the share of each lane, as JSON."),
        "applied": Key(
            "hash",
            "the script",
            "The split in force: epoch, rollout, versions, who and why. Routers route by nothing else.",
            (*applied_to_fields(INITIAL_SPLIT), UNKNOWN_IN_MODELS.decode()),
        ),
        "rejected": Key(
            "hash",
            "the script",
            "The last proposal that was refused, and why. It stays until the next one: `applied` has what is in force.",
            (*_names(Refusal), "digest"),
        ),
        "latch": Key(
            "hash",
            "the script",
            "The rollout that was rolled back last; `state`: holds, released, or over (a later rollout came into force "
            "without a release); `command` ends it.",
            _names(Latch),
        ),
        "release": Key("string", "people", "Number of the rollout whose latch is to end; the script deletes others."),
        "models": Key(
            "hash",
            "people, scoring jobs (where a lane has none), the script",
            "Model version of each lane; a field that is no lane is left alone, and shown in `history`.",
            _names(Models),
        ),
        "rollout": Key(
            "hash",
            "the controller",
            "How the rollout in force stands, for display: its phase in words (`says`), the metric that decided or is "
            "the worst with its e-value (`evidence`), threshold and outcomes per lane, a sentence a metric "
            "(`metric:<name>`; all as JSON in `metrics`), why it does not go on (`holds`), what its next step waits "
            "for (`waits`), and what absolute limits see (`limits`). Durations are seconds. "
            "`written_at` is at most 5 s old while a controller lives.",
            tuple(status_to_fields(status)),
        ),
        "routers": Key(
            "hash",
            "routers",
            "A field for each instance, as JSON: by which split it routes, refreshed every 2 s and removed at its end.",
            _names(RouterStatus),
        ),
        "history": Key(
            "stream",
            "the script",
            "What happened, newest last, about 1,000 entries: `XREVRANGE … + - COUNT 5`.",
            HISTORY_FIELDS,
        ),
        "jobs": Key(
            "hash",
            "scoring jobs",
            "What each job says of itself, by LANE/INSTANCE and as JSON: the model that scores, the version that is "
            f"wanted, `state` ({', '.join(get_args(JobState))}), the last error. Written every 2 s; a job of which "
            f"nothing was heard for {STALE_AFTER // 1000} s is gone.",
            _names(JobStatus),
        ),
        "digests": Key(
            "hash",
            "scoring jobs",
            "Model version -> the digest with which it was first loaded; a job with another one does not start.",
        ),
    }
    if set(keys) != set(get_args(RedisKey)):
        raise ValueError(f"docs/generate.py knows {sorted(keys)}, core/route.py {sorted(get_args(RedisKey))}")
    return keys


def error_classes() -> list[type[StreamRouterError]]:
    """The tree of errors, each before its children."""
    return list(_tree(StreamRouterError))


def meaning_of(error: type[StreamRouterError]) -> str:
    """The class's own docstring, else its line in the tree that the module's docstring draws.

    Raises ValueError where that line says another exit code, or something else about a restart, than the class does.
    """
    if error.__dict__.get("__doc__"):
        return _first_paragraph(inspect.getdoc(error))
    line = re.search(rf"\b{error.__name__}\b +(\*)? *(?:exit code )?(\d+) *(.*)", errors.__doc__ or "")
    if line is None:
        raise ValueError(f"stream_router/errors.py does not say what {error.__name__} is")
    star, code, meaning = line.groups()
    if (star is not None, int(code)) != (error.restart_mends, error.exit_code):
        raise ValueError(f"the tree in stream_router/errors.py is wrong about {error.__name__}: {line[0].strip()}")
    return f"{meaning[:1].upper()}{meaning[1:]}."


def metrics_served() -> Iterator[Metric]:
    """Every metric; who serves it is the comment above it. Raises ValueError where there is none."""
    lines = inspect.getsource(metrics).splitlines()
    for node in ast.parse("\n".join(lines)).body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Call)):
            continue
        processes = next((line for line in reversed(lines[: node.lineno]) if line.startswith("# ")), None)
        if processes is None:
            raise ValueError(f"stream_router/adapters/metrics.py does not say who serves {ast.unparse(node.target)}")
        name, meaning, labels = map(ast.literal_eval, node.value.args)
        yield Metric(name, ast.unparse(node.value.func).lower(), labels, meaning, processes.removeprefix("# "))


def flags() -> dict[str, str]:
    """Name of a setting to its flag, for those that have one on some command."""
    return {
        parameter.name: parameter.opts[0]
        for command in _commands(command_line, click.Context(command_line))
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name in Settings.model_fields
    }


# How it is written.


def reference() -> str:
    """The whole of docs/reference.md."""
    parts = (
        "# Reference",
        "Written from the code by `python docs/generate.py`. [concepts.md](concepts.md) explains the words.",
        *_settings_part(),
        *_policy_part(),
        *_exit_codes_part(),
        *_redis_part(),
        *_metrics_part(),
        *_api_part(
            stream_router,
            "Public API",
            "`from stream_router import …`. What is not named here is private, but the command line is not.",
        ),
        *_api_part(
            testing,
            "For tests",
            "`from stream_router.testing import …`. [testing.md](testing.md) shows them in use.",
        ),
    )
    return "\n\n".join(parts) + "\n"


def readme(text: str) -> str:
    """README.md with its tables renewed. Raises ValueError where the comments around one are missing."""
    return _renewed(_renewed(text, "Redis keys", _short_redis_keys()), "settings", _short_settings())


def _renewed(text: str, name: str, table: str) -> str:
    before, begin, rest = text.partition(BEGIN.format(name))
    _, end, after = rest.partition(END.format(name))
    if not (begin and end):
        raise ValueError(
            f"README.md has no lines {BEGIN.format(name)!r} and {END.format(name)!r} between which its {name} stand"
        )
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


def documents() -> dict[Path, str]:
    """Each generated file and what it should hold."""
    readme_file = ROOT / "README.md"
    return {ROOT / "docs" / "reference.md": reference(), readme_file: readme(readme_file.read_text())}


def outdated() -> list[Path]:
    """The generated files that do not hold what they should."""
    return [file for file, text in documents().items() if not file.is_file() or file.read_text() != text]


def _settings_part() -> Iterator[str]:
    yield "## Settings"
    yield (
        f"A flag wins over a variable, a variable over the file: `--config FILE`, else `{PREFIX}CONFIG`, else\n"
        "`stream-router.toml` in the current folder. A name that is no setting is refused.\n"
        '`topics.requests = "x"` in the file is `[topics]` and below it `requests = "x"`.'
    )
    known = flags()
    yield _table(
        ("TOML key", "variable", "flag", "type", "default", "bounds", "meaning"),
        [
            (
                f"`{path}`",
                f"`{PREFIX}{path.upper().replace('.', '__')}`",
                f"`{known[path]}`" if path in known else "",
                _type(field),
                _default(field),
                _bounds(field),
                field.description or "",
            )
            for path, field in settings()
        ],
    )
    yield (
        "`kafka` and `redis` hold other clients' settings: repeat the flag (`--kafka client.id=me`), write a table\n"
        f'(`[kafka]`), or give the variable a JSON object (`{PREFIX}KAFKA=\'{{"client.id": "me"}}\'`).'
    )
    yield "Durations are seconds, or texts such as `30s`, `5m`, `2h`, `1d`."


def _policy_part() -> Iterator[str]:
    yield "## Policy file"
    yield (
        "One document of YAML. What it does not say is as by default: an empty file is the built-in policy. Durations\n"
        "are as above, ratios from 0 to 1. [policy.md](policy.md) explains one line by line; `stream-router policy\n"
        "check` says what a file means, and `stream-router policy schema` gives editors its JSON Schema."
    )
    yield _table_of(PolicyFile)
    yield "### Steps"
    yield _table_of(StepSettings)
    yield "### Metrics"
    yield (
        "Below the name of a metric, such as `accuracy: {margin: 0.01}`; what is not named stays as it is.\n"
        "[concepts.md](concepts.md#metrics-and-limits) says what each metric looks at."
    )
    yield _table_of(MetricSettings)
    yield "By default:"
    yield _table(
        ("metric", "`role`", "`weight`", "`margin`"),
        [(f"`{metric.name}`", metric.role, f"{metric.weight:g}", f"{metric.margin:g}") for metric in METRICS],
    )
    yield "### Limits"
    yield "In the order in which they are looked at."
    yield _table_of(LimitSettings)


def _table_of(model: type[BaseModel]) -> str:
    """The settings of a table that stands in a list or under a name."""
    return _table(
        ("name", "type", "default", "bounds", "meaning"),
        [
            (f"`{name}`", _type(field), _default(field), _bounds(field), field.description or "")
            for name, field in model.model_fields.items()
        ],
    )


def _exit_codes_part() -> Iterator[str]:
    yield "## Exit codes"
    yield _table(
        ("code", "when"),
        [
            ("0", "The work is done, or SIGINT or SIGTERM ended a process that runs until then, once it has started."),
            ("1", "The answer is no: `topics verify` finds differences, `local status` no servers."),
            ("1", "`score --until end` was stopped before the end, a call of Kafka hung, or nobody foresaw the error."),
            (
                str(click.UsageError.exit_code),
                "A command line that cannot be read, and the errors below with this code.",
            ),
            (str(INTERRUPTED), "Ctrl-C in a command that does not run until then."),
        ],
    )
    yield (
        "An error is one line on stderr, of a policy file one for each fault. Where a restart mends it, another line\n"
        "says so: run the same command again."
    )
    yield _table(
        ("error", "code", "a restart mends it", "what it is"),
        [
            (f"`{error.__name__}`", str(error.exit_code), "yes" if error.restart_mends else "", meaning_of(error))
            for error in error_classes()
        ],
    )


def _redis_part() -> Iterator[str]:
    yield "## Redis keys"
    prefix = Route("flights").key("split").removesuffix("split")
    yield (
        f"Keys of the route `flights` begin with `{prefix}`; the braces keep a route in one slot of a Redis Cluster.\n"
        "The script is `stream_router/adapters/redis/apply_split.lua`. An empty field stands for nothing."
    )
    yield _table(
        ("key", "type", "written by", "what it tells", "fields"),
        [
            (f"`{name}`", key.type, key.writers, key.meaning, ", ".join(f"`{field}`" for field in key.fields))
            for name, key in redis_keys().items()
        ],
    )


def _metrics_part() -> Iterator[str]:
    yield "## Metrics"
    yield (
        "Served in Prometheus' form at `/metrics` where `metrics_port` is set. A process serves only what it has\n"
        "measured. The monitor includes the controller, while it is the route's."
    )
    yield _table(
        ("metric", "type", "labels", "served by", "meaning"),
        [
            (
                f"`{metric.name}`",
                metric.type,
                ", ".join(f"`{label}`" for label in metric.labels),
                metric.processes,
                metric.meaning,
            )
            for metric in metrics_served()
        ],
    )


def _api_part(module: ModuleType, title: str, intro: str) -> Iterator[str]:
    yield f"## {title}"
    yield intro
    for name in module.__all__:
        found = getattr(module, name)
        yield f"### `{name}`"
        if inspect.isclass(found) and issubclass(found, StreamRouterError):
            yield f"{meaning_of(found)} Exit code {found.exit_code}."
        elif inspect.isclass(found):
            yield from _class_part(found)
        elif inspect.isfunction(found):
            source = _source_of(found)
            yield _code(_signature(source.node, source.lines))
            yield from _paragraphs(source.node)
        else:
            yield f"{_values_of(found)}."


def _values_of(found: Any) -> str:
    """What a name stands for that is no class and no function: one of some values, one of some types, or itself."""
    values = [repr(value) if get_origin(found) is Literal else value.__name__ for value in get_args(found)]
    return " or ".join(f"`{value}`" for value in values or [repr(found)])


def _class_part(found: type) -> Iterator[str]:
    node, lines = _source_of(found)
    bases = f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else ""
    members = "\n".join(_members(node, lines))
    yield _code(f"class {node.name}{bases}:" + (f"\n{textwrap.indent(members, '    ')}" if members else " ..."))
    yield from _paragraphs(node)
    documented = [f"- `{name}`: {text}" for name, text in _documented(node)]
    if documented:
        yield "\n".join(documented)


def _members(node: ast.ClassDef, lines: Sequence[str]) -> Iterator[str]:
    """Fields, the constructor and what is public, as the source has them."""
    for item in node.body:
        if isinstance(item, ast.AnnAssign | ast.Assign):
            yield _dedented(lines[item.lineno - 1 : item.end_lineno])
        elif isinstance(item, ast.FunctionDef) and (item.name == "__init__" or not item.name.startswith("_")):
            decorators = [ast.unparse(decorator) for decorator in item.decorator_list]
            if item.returns and set(decorators) & {"property", "cached_property"}:
                yield f"{item.name}: {ast.unparse(item.returns)}  # property"
            else:
                yield from (f"@{decorator}" for decorator in decorators)
                yield _signature(item, lines)


def _documented(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Methods and properties with what is said of them, here or in the protocol that they fulfil."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
            fulfilled = [getattr(protocol, item.name, None) for protocol in DOCUMENTED_BY.get(node.name, ())]
            texts = [ast.get_docstring(item), *(inspect.getdoc(method) for method in fulfilled if method)]
            said = next((text for text in texts if text), None)
            if said:
                yield item.name, _first_paragraph(said)


def _signature(node: ast.FunctionDef, lines: Sequence[str]) -> str:
    """The lines of the source up to the body."""
    head = _dedented(lines[node.lineno - 1 : node.body[0].lineno - 1])
    return re.sub(r":\s*(#.*)?$", "", head) or f"def {node.name}({ast.unparse(node.args)})"


def _dedented(lines: Sequence[str]) -> str:
    return textwrap.dedent("\n".join(lines)).rstrip()


def _source_of(found: Any) -> Source:
    """The definition as it is written: its annotations are shorter than those that the interpreter shows."""
    text = inspect.getsource(importlib.import_module(found.__module__))
    definitions = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef | ast.FunctionDef))
    return Source(next(node for node in definitions if node.name == found.__name__), text.splitlines())


def _short_redis_keys() -> str:
    head = (f"key `{Route('flights').key('split').removesuffix('split')}…`", "what it tells")
    return _table(head, [(f"`{name}`", key.meaning) for name, key in redis_keys().items()])


def _short_settings() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        if name != "route":
            rows.append((f"`{name}`", _default(field), field.description or ""))
    rows += [(f"`{path}`", _default(field), field.description or "") for path, field in settings() if "route." in path]
    return _table(("setting", "default", "meaning"), rows)


def _type(field: FieldInfo) -> str:
    kinds = [name for kind, name in KINDS.items() if get_args(kind)[1] in field.metadata]
    return " or ".join(kinds or _type_names(field.annotation))


def _type_names(annotation: Any) -> Iterator[str]:
    if annotation in KINDS:
        yield KINDS[annotation]
    elif get_origin(annotation) is Literal:
        yield from (f"`{value}`" for value in get_args(annotation))
    elif get_origin(annotation) is dict:
        yield "mapping"
    elif get_origin(annotation) is tuple:
        yield "list"
    elif parts := get_args(annotation):
        yield from (name for part in parts if part is not type(None) for name in _type_names(part))
    else:
        yield {
            str: "text",
            SecretStr: "text",
            Path: "path",
            float: "number",
            int: "whole number",
            bool: "true or false",
        }[annotation]


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel) or default is PydanticUndefined or default in ({}, (), None):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return f"weights {', '.join(f'{step.weight:g}' for step in default)}"
    if KINDS[Duration] in _type(field):
        return f"`{duration_of(round(default * 1000))}`"
    return f"`{default.get_secret_value() if isinstance(default, SecretStr) else default}`"


def _bounds(field: FieldInfo) -> str:
    signs = {"gt": "above {}", "ge": "at least {}", "lt": "below {}", "le": "at most {}", "min_length": "not empty"}
    return ", ".join(
        sign.format(f"{getattr(bound, name):g}")
        for bound in field.metadata
        for name, sign in signs.items()
        if hasattr(bound, name)
    )


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _blank(data: type, **known: Any) -> Any:
    """An instance of which only the names of its fields are wanted."""
    return data(**{field.name: None for field in fields(data)} | known)


def _names(data: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(data))


def _tree(error: type[StreamRouterError]) -> Iterator[type[StreamRouterError]]:
    yield error
    for child in error.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child)


def _commands(command: click.Command, context: click.Context) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from _commands(child, context)


def _paragraphs(node: Any) -> Iterator[str]:
    yield from (" ".join(part.split()) for part in (ast.get_docstring(node) or "").split("\n\n") if part)


def _first_paragraph(docstring: str | None) -> str:
    return " ".join((docstring or "").split("\n\n")[0].split())


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Write docs/reference.md and README.md's tables.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a file is out of date")
    checks = parser.parse_args(arguments).check
    stale = outdated()
    for file in stale:
        name = file.relative_to(ROOT)
        if checks:
            print(f"{name} is out of date: run python docs/generate.py")
        else:
            file.write_text(documents()[file])
            print(f"wrote {name}")
    return 1 if checks and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
