"""Avro single-object encoding: C3 01, the schema's CRC-64-AVRO fingerprint, the body.

https://avro.apache.org/docs/1.12.0/specification/#single-object-encoding
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from stream_router.adapters.avro.hazards import refuse_hazards
from stream_router.adapters.resources import resource_folder
from stream_router.errors import DecodeError, SettingError

Subject = Literal[
    "prediction",
    "ground_truth",
    "evidence",
    "verdict_state",
    "windowed_accuracy",
    "split",
    "rollout_event",
    "flight_request",
]
MARKER: Final = b"\xc3\x01"
_HEAD: Final = 10


class Codec:
    """Encodes with the newest of a subject's schemas and decodes what any of them wrote.

    Only the given schemas are admitted as writers; `schema` is the newest, `head` what each encoded record begins with.
    Raises SettingError for a schema that is none, or with which hostile data can exhaust memory or the stack.
    """

    def __init__(self, schemas: list[Any], subject: str) -> None:
        try:
            parsed = [fastavro.parse_schema(schema) for schema in schemas]
        except (fastavro.schema.SchemaParseException, TypeError, ValueError) as error:
            raise SettingError(f"the schema of {subject} is not Avro: {error}") from error
        for schema in parsed:
            refuse_hazards(schema, subject)
        self.subject = subject
        self.schema = parsed[-1]
        self._writers = {fingerprint_of(schema): schema for schema in parsed}
        self.head = MARKER + fingerprint_of(self.schema)

    @classmethod
    def of(cls, subject: Subject, newest: int | None = None) -> "Codec":
        """The codec of one of our subjects: schemas/<subject>/1.avsc, 2.avsc and so on, or up to `newest`."""
        files = sorted((resource_folder("schemas") / subject).glob("*.avsc"), key=lambda file: int(file.stem))[:newest]
        return cls([json.loads(file.read_text()) for file in files], subject)

    @classmethod
    def from_file(cls, file: Path) -> "Codec":
        """The codec of a user's schema file. Raises SettingError if it cannot be read."""
        try:
            schema = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise SettingError(f"schema file {str(file)!r} cannot be read as JSON: {error}") from error
        return cls([schema], str(file))

    def encode(self, record: Mapping[str, Any]) -> bytes:
        """Raises ValueError or TypeError if the record does not fit the schema."""
        body = io.BytesIO()
        body.write(self.head)
        fastavro.schemaless_writer(body, self.schema, record)
        return body.getvalue()

    def decode(self, data: bytes | None) -> dict[str, Any]:
        """Raises DecodeError for anything that is not exactly one record of an admitted schema."""
        if data is None:
            raise DecodeError(f"no value: expected {self.subject} in Avro single-object encoding")
        if data[:2] != MARKER or len(data) < _HEAD:
            raise DecodeError(
                f"starts with {data[:_HEAD].hex(' ')!r}, not with c3 01 and a fingerprint: "
                f"expected {self.subject} in Avro single-object encoding",
            )
        writer = self._writers.get(data[2:_HEAD])
        if writer is None:
            raise DecodeError(
                f"unknown schema fingerprint {data[2:_HEAD].hex()}: "
                f"{self.subject} knows {', '.join(known.hex() for known in self._writers)}",
            )
        body = io.BytesIO(data)
        body.seek(_HEAD)
        try:
            record = fastavro.schemaless_reader(body, writer, self.schema)
        except Exception as error:  # whatever hostile bytes provoke in the reader, the record is unreadable
            raise DecodeError(f"not readable as {self.subject}: {type(error).__name__}: {error}") from error
        if left_over := len(data) - body.tell():
            raise DecodeError(f"{left_over} bytes are left over after {self.subject}")
        if not isinstance(record, dict):
            raise DecodeError(f"{self.subject} is a {type(record).__name__}, not a record")
        return record


def fingerprint_of(schema: Any) -> bytes:
    """The 8 bytes of a schema's CRC-64-AVRO fingerprint, little-endian as on the wire."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


def renamed(record: Mapping[str, Any], name: str, new_name: str) -> dict[str, Any]:
    """The record with one of its fields under another name."""
    return {new_name if field == name else field: value for field, value in record.items()}
