"""Values to records with fastavro, as a plain program does."""

import io
from typing import Any

import fastavro

from tests.crash.plain_events import event_definition, without_logical_types

_SCHEMA: Any = fastavro.parse_schema(without_logical_types(event_definition()))


def record_of(value: bytes) -> dict[str, Any]:
    """Read a framed event."""
    record: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), _SCHEMA, None)
    return record  # type: ignore[no-any-return]
