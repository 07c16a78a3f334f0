"""Rows from requests: JSON objects, or Avro single-object encoding of a given schema."""

import json
from pathlib import Path
from typing import Any, Final, get_args

from stream_router.adapters.avro.codec import Codec, Subject
from stream_router.core.routing.header import Headers
from stream_router.errors import DecodeError

LONGEST_ID: Final = 1_024
"""Bytes in UTF-8 of a request's id: it stands in predictions, labels and outcomes, and in memory for a horizon."""

_JSON: Final = json.JSONDecoder()


class RequestDecoder:
    """`schema` is one of our subjects, a schema file, or None for JSON; `id_field` names the request's id."""

    def __init__(self, schema: str | None, id_field: str = "request_id") -> None:
        self.id_field = id_field
        if schema is None:
            self._codec = None
        else:
            self._codec = Codec.of(schema) if schema in get_args(Subject) else Codec.from_file(Path(schema))  # type: ignore[arg-type]  # narrowed by the test

    def row(self, value: bytes | None) -> dict[str, Any]:
        """Raises DecodeError for anything that is not one row."""
        if self._codec is not None:
            return self._codec.decode(value)
        if value is None:
            raise DecodeError("the request has no value: expected a JSON object")
        try:
            row = _json(value)
        except (ValueError, RecursionError) as error:
            raise DecodeError(f"the request is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise DecodeError(f"the request is a JSON {type(row).__name__}, not an object")
        return row

    def request_id(self, headers: Headers | None, row: dict[str, Any] | None) -> str:
        """The CloudEvents header ce_id, else the row's id field. Raises DecodeError where neither is there, and for an
        id over LONGEST_ID.
        """
        for name, content in headers or ():
            if name == "ce_id" and content:
                return _short(content.decode(errors="replace"), len(content))
        found = row.get(self.id_field) if row is not None else None
        if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
            raise DecodeError(
                f"the request has no id: neither a header ce_id nor a field {self.id_field!r}"
                + ("" if found is None else f" that is text or a whole number, but {_shown(found)}"),
            )
        if isinstance(found, int) and found.bit_length() > 8 * LONGEST_ID:  # its digits may be more than Python prints
            raise DecodeError(f"the request's id is a number of {found.bit_length()} bits: name it in text")
        try:
            text = str(found)
            return _short(text, len(text.encode()))
        except UnicodeEncodeError:
            raise DecodeError(f"the request's id {_shown(found)} is not Unicode text: a lone surrogate") from None


def _short(request_id: str, size: int) -> str:
    if size > LONGEST_ID:
        raise DecodeError(f"the request's id {_shown(request_id)} has {size} bytes: at most {LONGEST_ID} are kept")
    return request_id


def _shown(value: Any) -> str:
    """For a message; without making all of a long text."""
    return repr(value[:80] + "..." if isinstance(value, str) and len(value) > 80 else value)[:100]  # noqa: PLR2004 - what a line shows


def _json(value: bytes) -> Any:
    """As json.loads, which looks for other encodings first. Raises ValueError, RecursionError."""
    if value[:1] == b"{" and value[1:2] != b"\0":  # so begins no text in UTF-16 or UTF-32, nor one with a mark
        text = value.decode(errors="surrogatepass")
        row, end = _JSON.raw_decode(text)
        if end == len(text):
            return row
    return json.loads(value)
