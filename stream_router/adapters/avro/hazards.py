"""Schemas whose hostile data can exhaust memory (items of no size) or the stack (recursion) of a decoder."""

from typing import Any

from stream_router.errors import SettingError


def refuse_hazards(schema: Any, subject: str) -> None:
    """Raises SettingError for a recursive schema, and for an array or map whose items take no bytes."""
    _walk(schema, subject, (), {})


def _walk(schema: Any, subject: str, inside: tuple[str, ...], named: dict[str, Any]) -> None:
    if isinstance(schema, str) and schema in inside:
        raise SettingError(f"schema {subject} is recursive at {schema!r}: hostile data could exhaust the stack")
    if isinstance(schema, dict) and "name" in schema:
        named[schema["name"]] = schema
        inside = (*inside, schema["name"])
    for part in _parts(schema):
        _walk(part, subject, inside, named)
    if isinstance(schema, dict) and schema.get("type") == "array" and _is_empty(schema["items"], named):
        raise SettingError(
            f"schema {subject} has an array of {schema['items']!r}, which takes no bytes: hostile data could "
            "exhaust the memory",
        )


def _parts(schema: Any) -> list[Any]:
    """The schemas that stand directly in this one."""
    if isinstance(schema, list):
        return schema
    if not isinstance(schema, dict):
        return []
    inner = [schema[part] for part in ("items", "values") if part in schema]
    nested = [schema["type"]] if isinstance(schema.get("type"), dict | list) else []
    return [*(field["type"] for field in schema.get("fields", ())), *inner, *nested]


def _is_empty(schema: Any, named: dict[str, Any]) -> bool:
    """Whether a value takes no bytes: null, a fixed of size 0, a record of nothing but such."""
    if isinstance(schema, str):
        return schema == "null" or (schema in named and _is_empty(named[schema], named))
    if not isinstance(schema, dict):
        return False
    kind = schema["type"]
    if kind in ("record", "error"):
        return all(_is_empty(field["type"], named) for field in schema["fields"])
    return (kind == "fixed" and schema["size"] == 0) or (kind not in ("array", "map") and _is_empty(kind, named))
