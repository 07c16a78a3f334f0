"""From the bytes of a policy file to the policy, or to all that is wrong with it, each with line and column."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from stream_router.core.policy import ROUTE_SETTINGS, Policy
from stream_router.errors import PolicyError
from stream_router.policies.policy_file import LABEL_HORIZON, LimitSettings, MetricSettings, PolicyFile, StepSettings
from stream_router.policies.yaml_source import MAX_BYTES, Fault, Source
from stream_router.policies.yaml_source import Path as FieldPath

_MODELS: Final[dict[str, type[BaseModel]]] = {
    "steps": StepSettings,
    "metrics": MetricSettings,
    "limits": LimitSettings,
}
"""Below the field of that name."""

_FORMS: Final = {
    "model_type": "expected a mapping, name: value",
    "dict_type": "expected a mapping, name: value",
    "tuple_type": "expected a list, each item after a dash",
    "bool_type": "expected true or false",
    "float_type": "expected a number",
    "int_type": "expected a whole number",
    "finite_number": "expected a finite number",
}
"""In place of pydantic's words."""

_WRITTEN_ELSEWHERE: Final = {
    "setWeight": "write weight: 0.05 for setWeight: 5",
    "duration": "write hold_for: 1h",
    "analysis": "all metrics are judged at every step; see metrics",
}
"""Fields that readers of Argo Rollouts look for."""

_SHOWN: Final = 60
"""Characters of a value."""


def parse_policy(data: bytes, of_route: Policy) -> Policy | tuple[Fault, ...]:
    """The policy with the route settings of `of_route`, or what is wrong, by line."""
    source = Source(data)
    faults = list(source.faults)
    try:
        written = PolicyFile.model_validate(
            {} if source.value is None else source.value, context={LABEL_HORIZON: of_route.label_horizon / 1000}
        )
    except ValidationError as error:
        faults += _faults(source, error)
        written = PolicyFile()
    return tuple(sorted(faults)) or written.to_policy(of_route)


def read_policy(file: Path | None, of_route: Policy) -> Policy:
    """The policy of the file, else the built-in one; both with the route settings of `of_route`. Raises PolicyError."""
    if file is None:
        return PolicyFile().to_policy(of_route)
    found = parse_policy(policy_bytes(file), of_route)
    if isinstance(found, Policy):
        return found
    raise PolicyError(faults_told(file, found))


def policy_bytes(file: Path) -> bytes:
    """What the file holds, no more than shows that it is too large. Raises PolicyError."""
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise PolicyError(f"policy file {str(file)!r} cannot be read: {error}") from None


def faults_told(file: Path, faults: Sequence[Fault]) -> str:
    """One a line where there are several."""
    if len(faults) == 1:
        return f"policy file {str(file)!r}, {faults[0]}"
    return "\n  ".join((f"policy file {str(file)!r} has {len(faults)} faults:", *map(str, faults)))


def _faults(source: Source, error: ValidationError) -> Iterator[Fault]:
    for detail in error.errors():
        path: FieldPath = tuple(part for part in detail["loc"] if part != "[key]")
        path += detail.get("ctx", {}).get("place", ())
        yield Fault(*source.place(path), _explain(path, _at(source.value, path), detail))


def _explain(path: FieldPath, value: Any, detail: Any) -> str:
    name = ".".join(map(_printable, path)) or "the document"
    if detail["loc"][-1:] == ("[key]",):
        return f"{name} is none: {_near(str(path[-1]), detail['ctx']['expected'])}"
    if detail["type"] == "extra_forbidden":
        return _unknown(name, path)
    if detail["type"] == "missing":
        return f"{name} is missing: {_described(path)}"
    if value is None:
        return f"{name} has no value: give it one, or leave it out"
    if detail["type"] == "literal_error":
        form = _near(str(value), detail["ctx"]["expected"])
    else:
        form = _FORMS.get(detail["type"]) or detail["msg"].replace("Input should be", "expected", 1)
    return f"{name} is {_shown(value)}: {form}"


def _unknown(name: str, path: FieldPath) -> str:
    field = str(path[-1])
    if field in ROUTE_SETTINGS and len(path) == 1:
        return f"{name} is a setting of the route, not of its policy: set route.{field} in the processes' settings"
    if field in _WRITTEN_ELSEWHERE:
        return f"{name} is no field of a policy: {_WRITTEN_ELSEWHERE[field]}"
    model = _MODELS.get(str(path[0]), PolicyFile) if len(path) > 1 else PolicyFile
    known = list(model.model_fields)
    near = difflib.get_close_matches(field, known, 1)
    told = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
    return f"{name} is no field of a policy: {told}"


def _described(path: FieldPath) -> str:
    model, field = _MODELS[str(path[0])], str(path[-1])
    return str(model.model_fields[field].description)


def _near(value: str, expected: str) -> str:
    """Expected: `'a', 'b' or 'c'`, as pydantic lists them."""
    known = expected.replace(" or ", ", ").replace("'", "").split(", ")
    near = difflib.get_close_matches(value, known, 1)
    return f"did you mean {near[0]}?" if near else f"expected {expected}"


def _at(value: Any, path: FieldPath) -> Any:
    for part in path:
        try:
            value = value[part]
        except (LookupError, TypeError):
            return part
    return value


def _printable(part: str | int) -> str:
    name = str(part)
    return name if name.isprintable() and len(name) <= _SHOWN else _shown(name)


def _shown(value: Any) -> str:
    told = repr(value)
    return told if len(told) <= _SHOWN else f"{told[:_SHOWN]}…"
