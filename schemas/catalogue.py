"""The schemas we write and their ids where there is no registry: each .avsc of this package, parsed, with its id."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import fastavro

from schemas import framing
from schemas.definitions import bare, load_definition
from schemas.framing import unframe
from schemas.writers import WriterSchema

__all__ = ["ACCOUNT_STATUS", "DEAD_LETTER", "EVENT", "FLAG", "Schema", "frame", "local_writers", "read", "unframe"]

_IDS: dict[str, int] = json.loads(Path(__file__).with_name("ids.json").read_text("utf-8"))


@dataclass(frozen=True, slots=True)
class Schema:
    """One of our schemas.

    Attributes:
        name: Name of its .avsc file.
        id: Its id where there is no registry; a registry may give another.
        definition: What the .avsc file says, as one registers it.
        parsed: For fastavro; without logical types, so timestamps are integers (milliseconds) both ways.
    """

    name: str
    id: int
    definition: dict[str, Any]
    parsed: dict[str, Any]

    @classmethod
    def load(cls, name: str) -> Self:
        """Read `<name>.avsc` and its id."""
        definition = load_definition(name)
        parsed = cast("dict[str, Any]", fastavro.parse_schema(bare(definition, keep=("default",))))
        return cls(name, _IDS[name], definition, parsed)


EVENT = Schema.load("banking_ui_event")
FLAG = Schema.load("fraud_flag")
FLAG_1 = Schema.load("fraud_flag_1")
"""Flags as 0.1.0 wrote them: reasons without the user's usual value."""
DEAD_LETTER = Schema.load("dead_letter")
ACCOUNT_STATUS = Schema.load("account_status")
_OURS = (EVENT, FLAG, FLAG_1, DEAD_LETTER, ACCOUNT_STATUS)


def frame(schema_id: int, schema: Schema, record: dict[str, Any]) -> bytes:
    """Encode a record in Confluent framing.

    Raises:
        Exception: fastavro's, if the record does not fit the schema.
    """
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, schema.parsed, record)
    return framing.frame(schema_id, stream.getvalue())


def read(schema: Schema, value: bytes) -> dict[str, Any]:
    """Decode a value that was written with this schema, or with the flag's first version, to this schema.

    For tests and tools, which trust their input.

    Raises:
        FramingError: If the value is not framed.
        Exception: fastavro's, if the body is not a record of the schema.
    """
    schema_id, body = unframe(value)
    writer = FLAG_1 if schema is FLAG and schema_id == FLAG_1.id else schema
    return cast("dict[str, Any]", fastavro.schemaless_reader(io.BytesIO(body), writer.parsed, schema.parsed))


def local_writers() -> dict[int, WriterSchema]:
    """Return what stands in for a registry: our own schemas by their ids; all but the event are `wrong_schema`."""
    return {schema.id: WriterSchema.from_definition(schema.definition) for schema in _OURS}
