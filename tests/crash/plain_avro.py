"""Flags and dead letters as plain records: what a consumer outside this project would write to read our topics."""

import io
import json
from functools import cache
from typing import Any

import fastavro

from tests.crash.plain_events import SCHEMAS, without_logical_types


@cache
def _schema(name: str) -> Any:
    return fastavro.parse_schema(without_logical_types(json.loads((SCHEMAS / f"{name}.avsc").read_text())))


def read_ours(name: str, value: bytes | None) -> dict[str, Any]:
    """Read a framed value by the schema in `<name>.avsc`."""
    record: Any = fastavro.schemaless_reader(io.BytesIO((value or b"")[5:]), _schema(name), None)
    return dict(record)


def framed(schema_id: int, definition: Any, record: dict[str, Any]) -> bytes:
    """Write a record in Confluent framing."""
    stream = io.BytesIO()
    stream.write(b"\x00" + schema_id.to_bytes(4))
    fastavro.schemaless_writer(stream, definition, record)
    return stream.getvalue()
