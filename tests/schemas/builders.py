"""Events, frames and writers' schemas with sane defaults, and the plain reader that decoding is compared with."""

import copy
import io
import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Any

import fastavro
import numpy as np
from numpy.typing import NDArray

from schemas.catalogue import EVENT
from schemas.codec import Decoded, WriterSchema, decode
from schemas.events import EVENT_FRAME, EVENT_TYPES

NOW_MS = 1_750_000_000_000
Definition = dict[str, Any]


def an_event(**overrides: Any) -> dict[str, Any]:
    return {
        "event_id": "e-1",
        "session_id": "s-1",
        "user_id": "u-1",
        "event_type": "click",
        "page": "/accounts/17",
        "element_id": "pay",
        "input_hash": None,
        "timestamp": NOW_MS,
        "latency_ms": 120,
        "device_fingerprint": "fp-1",
        "ip": "192.0.2.7",
    } | overrides


def some_events(count: int) -> list[dict[str, Any]]:
    """Events that differ in every column, with short and long strings, nulls and all event types."""
    return [
        an_event(
            event_id=f"e-{n:032d}",
            session_id=f"s-{n % 7}",
            user_id="ü" * (1 + n % 40),
            event_type=EVENT_TYPES[n % len(EVENT_TYPES)],
            page="/p" * (n % 90),
            element_id=None if n % 3 else "é" * (n % 50),
            input_hash="ab" * 32 if n % 2 else None,
            timestamp=NOW_MS + n,
            latency_ms=n * 37 % 600_000,
            device_fingerprint="" if n % 5 == 0 else f"fp-{n}",
            ip=f"10.0.{n % 256}.1" if n % 4 else "2001:DB8::0:1",
        )
        for n in range(count)
    ]


def event_schema(change: Callable[[dict[str, Any]], None] | None = None) -> Definition:
    """BankingUIEvent v1 as a dict of fields by name, changed, and made a definition again."""
    definition = copy.deepcopy(EVENT.definition)
    fields = {field["name"]: field for field in definition["fields"]}
    if change:
        change(fields)
    return definition | {"fields": list(fields.values())}


def with_field(name: str, kind: Any) -> Definition:
    return event_schema(lambda fields: fields.update({name: {"name": name, "type": kind}}))


def without_logical_types(definition: Definition) -> Definition:
    plain = copy.deepcopy(definition)
    for field in plain["fields"]:
        if field["type"] == {"type": "long", "logicalType": "timestamp-millis"}:
            field["type"] = "long"
    return plain


def body(record: dict[str, Any], definition: Definition = EVENT.definition) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(without_logical_types(definition)), record)
    return stream.getvalue()


def framed(record: dict[str, Any], schema_id: int = 1, definition: Definition = EVENT.definition) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + body(record, definition)


def decoded(
    values: Sequence[bytes | None],
    definitions: dict[int, Definition] | None = None,
    kafka_ms: NDArray[np.int64] | None = None,
) -> Decoded:
    writers = {id_: WriterSchema.from_definition(it) for id_, it in (definitions or {1: EVENT.definition}).items()}
    return decode(values, np.full(len(values), NOW_MS) if kafka_ms is None else kafka_ms, writers)


def outcome(result: Decoded) -> tuple[list[dict[str, Any]], list[tuple[int, str, str]]]:
    """What two decodings must agree on: every value of the events, and row, reason and stage of the rejects."""
    return result.events.to_dicts(), [(reject.row, reject.reason, reject.stage) for reject in result.rejects]


def plainly_decoded(
    values: Sequence[bytes | None], definitions: dict[int, Definition], kafka_ms: int = NOW_MS
) -> tuple[list[dict[str, Any]], list[tuple[int, str, str]]]:
    """Decode a record at a time with fastavro and plain Python: the specification, in the form of `outcome`."""
    parsed = {id_: fastavro.parse_schema(without_logical_types(it)) for id_, it in definitions.items()}
    reader = fastavro.parse_schema(without_logical_types(EVENT.definition))
    events, rejects = [], []
    for row, value in enumerate(values):
        fault = _frame_fault(value)
        record = {} if fault or value is None else _record(value, parsed, reader)
        reason, stage = fault or record.pop("reject", ""), "decode"
        if not reason:
            reason, stage = _invalid(record, kafka_ms), "validate"
        if reason:
            rejects.append((row, reason, stage))
        else:
            record |= {"row": row, "event_type": EVENT_TYPES.index(record["event_type"]), "ip": _ip(record["ip"])}
            events.append({name: record[name] for name in EVENT_FRAME})
    return events, rejects


def _frame_fault(value: bytes | None) -> str:
    if not value:
        return "empty"
    if len(value) < 5:
        return "truncated_frame"
    if value[0] != 0:
        return "bad_magic"
    return "too_large" if len(value) > 65_536 else ""


def _record(value: bytes, parsed: dict[int, Any], reader: Any) -> dict[str, Any]:
    schema_id = int.from_bytes(value[1:5], "big")
    if schema_id not in parsed:
        return {"reject": "unknown_schema"}
    stream = io.BytesIO(value[5:])
    try:
        record = fastavro.schemaless_reader(stream, parsed[schema_id], reader)
    except Exception:  # noqa: BLE001 - whatever fastavro makes of hostile bytes
        return {"reject": "undecodable"}
    return {"reject": "trailing_bytes"} if stream.read(1) else record  # type: ignore[return-value]


def _invalid(event: dict[str, Any], kafka_ms: int) -> str:
    ids = [event[name] for name in ("event_id", "session_id", "user_id")]
    checks = {
        "missing_id": "" in ids,
        "id_too_long": max(len(text.encode()) for text in ids) > 128,
        "bad_timestamp": not 0 < event["timestamp"] <= 4_102_444_800_000,
        "future": event["timestamp"] - kafka_ms > 300_000,
        "bad_latency": not 0 <= event["latency_ms"] <= 600_000,
        "string_too_long": any(isinstance(x, str) and len(x.encode()) > 4096 for x in event.values()),
        "bad_id": any(re.search(r"[\x00-\x1f\x7f]", text) for text in ids),
    }
    return next((reason for reason, failed in checks.items() if failed), "")


def _ip(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return None if address.scope_id else str(address.ipv4_mapped or address)
