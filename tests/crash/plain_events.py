"""Bytes to events and the checks on their values, stated once more, record by record, for the oracle.

Nothing of `schemas` is imported: only the definition of the event is read from its file. Given the same bytes this
must come to the same record, or the same reason, as the service does with its columns.
"""

import io
import ipaddress
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fastavro

SCHEMAS = Path(__file__).parents[2] / "schemas"
MAX_RECORD_BYTES = 65_536
MAX_ID_BYTES = 128
MAX_STRING_BYTES = 4_096
MAX_ADDRESS_BYTES = 45
YEAR_2100_MS = 4_102_444_800_000
MAX_AHEAD_MS = 300_000
MAX_LATENCY_MS = 600_000
IDS = ("event_id", "session_id", "user_id")
STRINGS = (*IDS, "page", "element_id", "input_hash", "device_fingerprint", "ip")

Record = dict[str, Any]


class RefusedError(ValueError):
    """A record is a dead letter; the text is the reason."""


def without_logical_types(definition: Any) -> Any:
    """Return a definition in which a timestamp is the integer that it is on the wire."""
    if isinstance(definition, list):
        return [without_logical_types(part) for part in definition]
    if not isinstance(definition, dict):
        return definition
    kept = {name: without_logical_types(part) for name, part in definition.items() if name != "logicalType"}
    return kept if set(kept) != {"type"} else kept["type"]


def event_definition() -> Any:
    """Return the definition of BankingUIEvent v1, as it stands in its file."""
    return json.loads((SCHEMAS / "banking_ui_event.avsc").read_text())


class EventReader:
    """Reads values of the events topic.

    Args:
        definitions: The writers' schemas by id, None for one that is no event; where this is None, what the service
            knows without a registry.
    """

    def __init__(self, definitions: Mapping[int, Any] | None = None) -> None:
        if definitions is None:
            ids = json.loads((SCHEMAS / "ids.json").read_text())
            definitions = {
                number: event_definition() if name == "banking_ui_event" else None for name, number in ids.items()
            }
        self._reader = fastavro.parse_schema(without_logical_types(event_definition()))
        self._writers = {
            number: None if definition is None else fastavro.parse_schema(without_logical_types(definition))
            for number, definition in definitions.items()
        }

    def read(self, value: bytes | None, kafka_ms: int) -> Record:
        """Return the event of a record, `ip` in normal form.

        Raises:
            RefusedError: If it is none that counts.
        """
        body, writer = self._unframed(value)
        stream = io.BytesIO(body)
        try:
            record: Any = fastavro.schemaless_reader(stream, writer, self._reader)
        except Exception as error:  # whatever the bytes make fastavro raise
            raise RefusedError("undecodable") from error
        if stream.read(1):
            raise RefusedError("trailing_bytes")
        refuse_bad_values(record, kafka_ms)
        return {**record, "ip": plain_address(record["ip"])}

    def _unframed(self, value: bytes | None) -> tuple[bytes, Any]:
        if not value:
            raise RefusedError("empty")
        if len(value) < 5:
            raise RefusedError("truncated_frame")
        if value[0] != 0:
            raise RefusedError("bad_magic")
        if len(value) > MAX_RECORD_BYTES:
            raise RefusedError("too_large")
        schema_id = int.from_bytes(value[1:5])
        if schema_id not in self._writers:
            raise RefusedError("unknown_schema")
        if self._writers[schema_id] is None:
            raise RefusedError("wrong_schema")
        return value[5:], self._writers[schema_id]


def refuse_bad_values(record: Record, kafka_ms: int) -> None:
    """Raise `RefusedError` with the first reason why an event does not count."""
    sizes = {name: len((record[name] or "").encode()) for name in STRINGS}
    if not all(sizes[name] for name in IDS):
        raise RefusedError("missing_id")
    if any(sizes[name] > MAX_ID_BYTES for name in IDS):
        raise RefusedError("id_too_long")
    if not 1 <= record["timestamp"] <= YEAR_2100_MS:
        raise RefusedError("bad_timestamp")
    if record["timestamp"] > kafka_ms + MAX_AHEAD_MS:
        raise RefusedError("future")
    if not 0 <= record["latency_ms"] <= MAX_LATENCY_MS:
        raise RefusedError("bad_latency")
    if any(size > MAX_STRING_BYTES for size in sizes.values()):
        raise RefusedError("string_too_long")
    if any(character < " " or character == "\x7f" for name in IDS for character in record[name]):
        raise RefusedError("bad_id")


def plain_address(text: str) -> str | None:
    """Return an address in normal form, None for what is none."""
    if len(text.encode()) > MAX_ADDRESS_BYTES:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return None
        return str(address.ipv4_mapped or address)
    return str(address)
