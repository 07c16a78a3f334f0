"""YAML as plain data, with the place of each field: mappings, lists, texts, numbers, true, false and null.

Plain scalars are read as YAML 1.2 has them, so `off` is a text and 1e-6 a number. What policies have no use for and
what could do harm is a fault: tags, anchors and aliases, a key that stands twice, and deep nesting.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import yaml

MAX_BYTES: Final = 100_000
MAX_DEPTH: Final = 10

Path = tuple[str | int, ...]
"""Keys and numbers of list items, from the top of the document."""

_NULL: Final = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEANS: Final[Mapping[str, bool]] = {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_YAMLS_OWN: Final = "tag:yaml.org,2002:"


class Fault(NamedTuple):
    """What is wrong with a file; line and column count from 1."""

    line: int
    column: int
    says: str

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.says}"


class Source:
    """A document of YAML. `value` is what it says, as far as there are no `faults`."""

    def __init__(self, data: bytes) -> None:
        self.value: Any = None
        self.faults: list[Fault] = []
        self._places: dict[Path, tuple[int, int]] = {(): (1, 1)}
        try:
            self._read(yaml.parse(_text(data), Loader=yaml.SafeLoader))
        except _UnreadableError as error:
            self.faults.append(error.fault)
        except yaml.MarkedYAMLError as error:
            self.faults.append(_syntax_fault(error))
        except yaml.reader.ReaderError as error:
            self.faults.append(Fault(1, 1, f"character {error.character!r} cannot stand in YAML: expected text"))
        except (ValueError, OverflowError) as error:  # of escapes and versions that PyYAML does not look at
            self.faults.append(Fault(1, 1, f"cannot be read as YAML: {error}"))

    def place(self, path: Path) -> tuple[int, int]:
        """Line and column of the field, else of the nearest around it that is there."""
        return next(self._places[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self._places)

    def _read(self, events: Iterator[Any]) -> None:
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _UnreadableError(event, "a second document begins here: expected one")
                self.value = self._node(next(events), events, ())

    def _node(self, event: Any, events: Iterator[Any], path: Path) -> Any:
        if len(path) > MAX_DEPTH:
            raise _UnreadableError(event, f"this is nested more than {MAX_DEPTH} deep: expected at most 3")
        self._places.setdefault(path, (event.start_mark.line + 1, event.start_mark.column + 1))
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self._fault(event, f"{event.anchor[:40]!r} is an anchor (&) or its alias (*): write the value itself")
        if isinstance(event, yaml.AliasEvent):
            return None
        if event.tag is not None:
            self._fault(event, f"tag {event.tag.replace(_YAMLS_OWN, '!!', 1)[:40]!r} is not read: leave it out")
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event.value) if event.style is None else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(events, path)
        return self._mapping(events, path)

    def _list(self, events: Iterator[Any], path: Path) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(self._node(event, events, (*path, len(items))))
        return items

    def _mapping(self, events: Iterator[Any], path: Path) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise _UnreadableError(event, "a key is a list, a mapping or an alias: expected the name of a field")
            here = (*path, event.value)
            if event.value in fields:
                first, _ = self._places[here]
                self._fault(event, f"{event.value[:40]!r} stands here for the second time, first on line {first}")
            self._node(event, events, here)
            fields[event.value] = self._node(next(events), events, here)
        return fields

    def _fault(self, event: Any, says: str) -> None:
        self.faults.append(_UnreadableError(event, says).fault)


class _UnreadableError(Exception):
    """Nothing behind it can be read."""

    def __init__(self, event: Any, says: str) -> None:
        super().__init__(says)
        self.fault = Fault(event.start_mark.line + 1, event.start_mark.column + 1, says)


def _text(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"byte {data[error.start]:#04x} on line {line} is not UTF-8") from None


def _scalar(text: str) -> Any:
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def _syntax_fault(error: yaml.MarkedYAMLError) -> Fault:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    says = ", ".join(filter(None, (error.context, error.problem)))
    if "'\\t'" in says:
        says = "a tab cannot stand here: indent with spaces"
    return Fault(line, column, f"this is not YAML: {says}")
