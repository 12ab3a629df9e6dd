"""Valid events with every default in one place: as records, as bytes on the wire, and as a decoded frame."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from schemas.catalogue import EVENT, frame
from schemas.events import EVENT_FRAME, EVENT_TYPES

Record = dict[str, Any]

A_MINUTE_MS = 1_749_531_840_000
"""2025-06-10T05:04:00 UTC, the minute in which events happen unless told otherwise."""

EXTRA_COLUMNS = {
    "offset": pl.Int64(),
    "device_risk": pl.Float64(),
    "account_locked": pl.Float64(),
    "recent_failures": pl.Float64(),
    "input_others": pl.Float64(),
    "input_since_ms": pl.Float64(),
    "profile": pl.Binary(),
}
"""What a row may carry besides the event itself: its offset in the partition, and the answers of the stores."""


def an_event(**overrides: Any) -> Record:
    """Give a valid BankingUIEvent record; any field may be overridden, and EXTRA_COLUMNS may be added."""
    return {
        "event_id": "e-1",
        "session_id": "s-1",
        "user_id": "u-1",
        "event_type": "page_view",
        "page": "/accounts",
        "element_id": None,
        "input_hash": None,
        "timestamp": A_MINUTE_MS,
        "latency_ms": 120,
        "device_fingerprint": "d-1",
        "ip": "203.0.113.7",
        **overrides,
    }


def a_session(
    types: Sequence[str] = ("login", "page_view", "click"),
    *,
    start_ms: int = A_MINUTE_MS,
    step_ms: int = 10_000,
    **overrides: Any,
) -> list[Record]:
    """Give the events of one session, `step_ms` apart, one for each event type, with ids of their own."""
    session_id = overrides.get("session_id", "s-1")
    return [
        an_event(event_id=f"{session_id}-e-{i}", event_type=kind, timestamp=start_ms + i * step_ms, **overrides)
        for i, kind in enumerate(types)
    ]


def event_only(record: Mapping[str, Any]) -> Record:
    """Give the record without the columns that are not on the wire."""
    return {name: value for name, value in record.items() if name not in EXTRA_COLUMNS}


def framed(record: Mapping[str, Any]) -> bytes:
    """Encode a record as version 1 of BankingUIEvent, in Confluent framing."""
    return frame(EVENT.id, EVENT, event_only(record))


def event_frame(records: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Give the frame that decoding these records would: EVENT_FRAME, then those EXTRA_COLUMNS that the records carry.

    Event types are given by name; addresses are taken as they are (normal form or None).
    """
    rows = [
        {**record, "row": i, "event_type": EVENT_TYPES.index(record["event_type"])} for i, record in enumerate(records)
    ]
    extra = {name: kind for name, kind in EXTRA_COLUMNS.items() if rows and name in rows[0]}
    return pl.DataFrame(rows, schema={**EVENT_FRAME, **extra})
