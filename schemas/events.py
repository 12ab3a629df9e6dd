"""The event as the rest of the service sees it: codes of event types and the columns of a decoded event frame.

Codes and column names are stored state elsewhere (snapshots, features): they are added to, never reordered.
"""

import polars as pl

EVENT_TYPES = ("page_view", "click", "input", "login", "login_failed", "transfer", "logout", "other")
"""Event types of BankingUIEvent v1; an event's code is the position in this tuple."""

EVENT_TYPE_CODES = {name: code for code, name in enumerate(EVENT_TYPES)}

PAGE_VIEW, CLICK, INPUT, LOGIN, LOGIN_FAILED, TRANSFER, LOGOUT, OTHER = range(len(EVENT_TYPES))

EVENT_FRAME = pl.Schema(
    {
        "row": pl.UInt32,
        "event_id": pl.String,
        "session_id": pl.String,
        "user_id": pl.String,
        "event_type": pl.UInt8,
        "page": pl.String,
        "element_id": pl.String,
        "input_hash": pl.String,
        "timestamp": pl.Int64,
        "latency_ms": pl.Int64,
        "device_fingerprint": pl.String,
        "ip": pl.String,
    }
)
"""Columns of a decoded event frame, in order, ascending by `row` (the position in the call's input).

`timestamp` is event time in milliseconds since 1970 (UTC). `page` is as received, `ip` in normal form. Null occurs in
`element_id` and `input_hash` (as received) and in `ip` (an address that could not be read).
"""


def with_type_names(events: pl.DataFrame) -> pl.DataFrame:
    """Return events with their types by name, as they are on the wire."""
    names = events["event_type"].replace_strict(dict(enumerate(EVENT_TYPES)), return_dtype=pl.String)
    return events.with_columns(names)
