"""Records as an older version of a schema wrote them."""

import io
import json
from typing import Any

import fastavro

from stream_router.adapters.avro.codec import MARKER, fingerprint_of
from stream_router.adapters.resources import resource_folder


def written_by(version: int, subject: str, record: dict[str, Any]) -> bytes:
    """The record's value, by the schema of that version."""
    file = resource_folder("schemas") / subject / f"{version}.avsc"
    schema = fastavro.parse_schema(json.loads(file.read_text()))
    body = io.BytesIO()
    fastavro.schemaless_writer(body, schema, record)
    return MARKER + fingerprint_of(schema) + body.getvalue()
